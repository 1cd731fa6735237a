internal import PawlCore
internal import PawlCrypto
internal import PawlStore

/// Values that one handle has sealed or opened, of rows without secrets. The same bytes in the same row open to the same
/// text, so there is nothing that could grow old: whatever another process writes has other bytes.
struct OpenedValues {
    private final class Entry {
        let row: RowKey
        let value: SecretBuffer
        let plaintext: SecretBuffer

        init(_ row: RowKey, _ value: SecretBuffer, _ plaintext: SecretBuffer) {
            self.row = row
            self.value = value
            self.plaintext = plaintext
        }
    }
    private static let sizeLimit = 1_024
    /// Each has one place, found by its nonce, which is random; the next one that falls there takes it.
    private var entries = [Entry?](repeating: nil, count: 256)

    static func areKept(_ row: RowKey, _ size: Int) -> Bool {
        size <= sizeLimit && row.kind?.isHarmless == true
    }

    func plaintext(of value: Bytes, at row: RowKey) -> SecretBuffer? {
        guard let place = place(value), let entry = entries[place], entry.row == row,
            entry.value.bytes.sameBytes(as: value)
        else { return nil }
        return entry.plaintext
    }

    mutating func keep(_ plaintext: SecretBuffer, of value: SecretBuffer, at row: RowKey) {
        guard let place = place(value.bytes), !isForServer(plaintext, row) else { return }
        entries[place] = Entry(row, value, plaintext)
    }

    /// What a backup asks for: a recovery key may be in it.
    private func isForServer(_ plaintext: SecretBuffer, _ row: RowKey) -> Bool {
        row.kind == .payload && plaintext.count > 1
            && plaintext.bytes[1] == OutboxLane.Kind.backup.rawValue
    }

    /// Behind the format comes the nonce.
    private func place(_ value: Bytes) -> Int? { value.count > 1 ? Int(value[1]) : nil }
}

internal import CPlatform
internal import PawlCrypto

/// A file as C wants it named. Links in its folder are followed once, here, so that SQLite may refuse
/// every link and a change of the working folder changes nothing.
struct StorePath {
    let folder: [CChar]
    let file: [CChar]

    init(_ path: [UInt8]) throws(Failure) {
        guard !path.contains(0), let last = path.last, last != UInt8(ascii: "/") else {
            throw .misuse(.path)
        }
        let slash = path.lastIndex(of: UInt8(ascii: "/"))
        let name = path[(slash.map { $0 + 1 } ?? 0)...]
        let parent: [UInt8] =
            switch slash {
            case nil: [UInt8(ascii: ".")]
            case 0: [UInt8(ascii: "/")]
            case let slash?: Array(path[..<slash])
            }
        let terminated = parent.map { CChar(bitPattern: $0) } + [0]
        guard let resolved = realpath(terminated, nil) else {
            throw .store(.cannotOpen, code: platform_errno())
        }
        defer { free(resolved) }
        folder = Array(UnsafeBufferPointer(start: resolved, count: strlen(resolved) + 1))
        var file = Array(folder.dropLast())
        if file.count > 1 { file.append(CChar(bitPattern: UInt8(ascii: "/"))) }
        for byte in name { file.append(CChar(bitPattern: byte)) }
        self.file = file + [0]
    }

    private init(folder: [CChar], file: [CChar]) {
        self.folder = folder
        self.file = file
    }

    func beside(_ suffix: StaticString) -> StorePath {
        let bytes = UnsafeBufferPointer(start: suffix.utf8Start, count: suffix.utf8CodeUnitCount)
        return StorePath(
            folder: folder, file: file.dropLast() + bytes.map { CChar(bitPattern: $0) } + [0])
    }

    /// A new name in the same folder.
    func draft() -> StorePath {
        // Not from SQLite, whose generator forked processes share.
        var random: UInt64 = 0
        withUnsafeMutableBytes(of: &random) { fillRandom($0) }
        var file = beside(".new-").file.dropLast()
        for _ in 0..<16 {
            let digit = UInt8(truncatingIfNeeded: random & 15)
            let character = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
            file.append(CChar(bitPattern: character))
            random >>= 4
        }
        return StorePath(folder: folder, file: file + [0])
    }
}

package import PawlCrypto

/// What is inside of an archive: a stream of chunks, all but the last of which are full, and in them entries, one right
/// behind the other.
///
/// An entry (little endian): kind 1, length 4, then so many bytes: of a credential (kind 1) its record with the secret in it.
/// Entries of other kinds are a newer Pawl's.
package enum Archive {
    package static let chunkSize = 64 << 10
    package static let headSize = 5
    /// A credential with everything that may be in it.
    package static let entryLimit = CredentialRules.secretLimit + 128 << 10
    package static let credential: UInt8 = 1

    package static func entry(_ record: CredentialRecord) throws(Failure) -> SecretBuffer {
        let body = try record.encoded()
        guard let size = UInt32(exactly: body.count) else { throw .internal }
        let entry = try SecretBuffer(count: headSize + body.count)
        var writer = ByteWriter(entry.mutableBytes)
        writer.integer(credential)
        writer.integer(size)
        writer.append(body.bytes)
        try writer.finish()
        return withExtendedLifetime(body) { entry }
    }

    /// Puts entries together from chunks.
    package struct Reader {
        private var head = InlineArray<5, UInt8>(repeating: 0)
        private var kind: UInt8 = 0
        private var body: SecretBuffer?
        /// Of the head, or of the body if there is one.
        private var filled = 0

        package init() {}

        /// Whether the last entry is whole.
        package var isAtEnd: Bool { body == nil && filled == 0 }

        /// Takes from `bytes` what the next entry needs, and answers it if it is whole.
        package mutating func read(
            _ bytes: inout Bytes
        ) throws(Failure) -> (kind: UInt8, body: SecretBuffer)? {
            while body == nil {
                guard let byte = bytes.first else { return nil }
                bytes = Bytes(rebasing: bytes.dropFirst())
                head[filled] = byte
                filled += 1
                if filled == headSize { try begin() }
            }
            guard let body else { return nil }
            let count = min(bytes.count, body.count - filled)
            if count > 0 {
                UnsafeMutableRawBufferPointer(rebasing: body.mutableBytes[filled..<filled + count])
                    .copyMemory(from: Bytes(rebasing: bytes[..<count]))
            }
            bytes = Bytes(rebasing: bytes.dropFirst(count))
            filled += count
            guard filled == body.count else { return nil }
            filled = 0
            self.body = nil
            return (kind, body)
        }

        private mutating func begin() throws(Failure) {
            kind = head[0]
            var size: UInt32 = 0
            for index in 1..<headSize { size |= UInt32(head[index]) << UInt32(8 * (index - 1)) }
            guard size <= entryLimit else { throw .limit(.secret) }
            body = try SecretBuffer(count: Int(size))
            filled = 0
        }
    }

    /// What was done, so far.
    package struct Report: Equatable {
        /// Credentials of the archive.
        package var credentials: UInt64 = 0
        package var imported: UInt64 = 0
        /// What was here was older.
        package var improved: UInt64 = 0
        /// What was here is as new, or newer.
        package var kept: UInt64 = 0
        package var expired: UInt64 = 0
        /// Damaged, or of a newer Pawl.
        package var unreadable: UInt64 = 0

        package init() {}
    }
}

extension CredentialRecord {
    /// Whether each part is what it may be, for a record that comes from elsewhere.
    package func check() throws(Failure) {
        _ = try Scope(user: user, project: project)
        guard name.isText(CredentialRules.nameSizes), label.isText(CredentialRules.labelSizes),
            provider.isText(CredentialRules.labelSizes), case .inline(let bytes) = secret,
            bytes.count <= CredentialRules.secretLimit
        else { throw .corrupt(.record) }
        let list = attributes
        let again = try Attributes.encode(count: Attributes.count(list)) {
            (index) throws(Failure) in
            guard let attribute = Attributes.at(index, in: list) else { throw .corrupt(.record) }
            return attribute
        }
        guard again.count == list.count else { throw .corrupt(.record) }
    }
}

internal import CSodium

/// One direction of one epoch: a chain key at an index. Each step gives the key of one message and forgets
/// how to get there again.
///
///     chain key i ──Step──► chain key i + 1 ‖ message key i
///
/// Steps may be taken ahead, as many as the memory has room for: a chain key, and what each step makes of it.
package final class Chain {
    package static let keySize = 32
    /// A chain key, and what one step makes of it.
    package static let memorySize = 3 * keySize

    private let memory: UnsafeMutableRawBufferPointer
    private let owner: AnyObject
    package private(set) var index: UInt32
    /// Where the chain key lies, and the last one that was made; in steps.
    private var position = 0
    private var ahead = 0
    /// How many steps can be taken ahead.
    package let room: Int

    /// A chain in memory of its own.
    package convenience init(key: Bytes, index: UInt32) throws(Failure) {
        let memory = try SecretBuffer(count: Self.memorySize)
        try self.init(in: memory.mutableBytes, ownedBy: memory)
        try restart(key: key, index: index)
    }

    /// A chain that waits for `restart`, in locked memory of its own with room for `steps` ahead.
    package convenience init(room steps: Int) throws(Failure) {
        let keys = 1 + 2 * steps
        let arena = try KeyArena(keys: keys)
        try self.init(in: arena.keys(0, count: keys), ownedBy: arena)
    }

    /// A chain that waits for `restart`, in `memory` (96 bytes, or 64 more for each further step), which lives
    /// as long as `owner`.
    package init(
        in memory: UnsafeMutableRawBufferPointer, ownedBy owner: AnyObject
    ) throws(Failure) {
        guard memory.count >= Self.memorySize else { throw .internal }
        self.memory = memory
        self.owner = owner
        index = 0
        room = (memory.count - Self.keySize) / (2 * Self.keySize)
    }

    deinit { sodium_memzero(memory.octets, memory.count) }

    /// Goes on from `key`; of what was here nothing is left.
    package func restart(key: Bytes, index: UInt32) throws(Failure) {
        guard key.count == Self.keySize else { throw .internal }
        sodium_memzero(memory.octets, memory.count)
        memory.copyMemory(from: key)
        self.index = index
        position = 0
        ahead = 0
    }

    package func copy() throws(Failure) -> Chain { try Chain(key: key, index: index) }

    /// The chain key at `index`.
    package var key: Bytes { key(at: position) }

    /// The key of message `index`, valid until the chain moves on.
    package func messageKey() throws(Failure) -> Bytes {
        if position == ahead { try step() }
        return part(2 * position + 2)
    }

    /// Moves on to the next index; the keys of this one are gone.
    package func advance() throws(Failure) {
        guard index < UInt32.max else { throw .limit(.index) }
        let used = try messageKey()
        wipe(key)
        wipe(used)
        position += 1
        index += 1
    }

    /// The chain `count` indices from here. The steps on the way stay here if there is room for them.
    package func after(_ count: UInt32) throws(Failure) -> Chain {
        guard count <= UInt32.max - index else { throw .limit(.index) }
        guard Int(count) <= room - position else {
            let chain = try copy()
            for _ in 0..<count { try chain.advance() }
            return chain
        }
        while ahead < position + Int(count) { try step() }
        return try Chain(key: key(at: position + Int(count)), index: index + count)
    }

    private func step() throws(Failure) {
        if ahead == room {
            // All are used: from the beginning again.
            memory.copyMemory(from: key)
            wipe(key)
            position = 0
            ahead = 0
        }
        let start = memory.octets
        let next = start + (2 * ahead + 1) * Self.keySize
        guard Self.derive(next, key(at: ahead).octets) == 0 else { throw .internal }
        ahead += 1
    }

    /// The parts: chain key, then chain key and message key of each step.
    private func key(at step: Int) -> Bytes { part(step == 0 ? 0 : 2 * step - 1) }

    private func part(_ number: Int) -> Bytes {
        let first = number * Self.keySize
        return Bytes(rebasing: memory[first..<first + Self.keySize])
    }

    private func wipe(_ part: Bytes) {
        sodium_memzero(UnsafeMutablePointer(mutating: part.octets), part.count)
    }

    /// BLAKE2b, one compression: `crypto_kdf_derive_from_key(64, 1, "pawlchn1", chain key)`.
    private static func derive(
        _ out: UnsafeMutablePointer<UInt8>, _ key: UnsafePointer<UInt8>
    ) -> Int32 {
        let context: StaticString = "pawlchn1"
        return crypto_kdf_derive_from_key(
            out, 64, 1, UnsafeRawPointer(context.utf8Start).assumingMemoryBound(to: CChar.self), key
        )
    }
}

/// SipHash-2-4: tells in one hash whether a frame can be the peer's at all, or whether a number is the store's own.
/// It gates work, never plaintext.
package enum Filter {
    package static let size = Int(crypto_shorthash_BYTES)
    package static let keySize = Int(crypto_shorthash_KEYBYTES)

    package static func hash(_ bytes: Bytes, key: Bytes) throws(Failure) -> UInt64 {
        guard key.count == keySize else { throw .internal }
        var out: UInt64 = 0
        withUnsafeMutableBytes(of: &out) { out in
            _ = crypto_shorthash(out.octets, bytes.octets, UInt64(bytes.count), key.octets)
        }
        return UInt64(littleEndian: out)
    }
}

extension Seal {
    package static let messageTagSize = Int(crypto_aead_xchacha20poly1305_ietf_ABYTES)
    package static let messageNonceSize = Int(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)

    /// Encrypts in place: `text` holds the plaintext and, behind it, room for the tag.
    package static func close(
        inPlace text: UnsafeMutableRawBufferPointer, key: Bytes, nonce: Bytes, associated: Bytes
    ) throws(Failure) {
        let size = text.count - messageTagSize
        guard size >= 0, key.count == Chain.keySize, nonce.count == messageNonceSize else {
            throw .internal
        }
        let status = crypto_aead_xchacha20poly1305_ietf_encrypt(
            text.octets, nil, text.octets, UInt64(size), associated.octets,
            UInt64(associated.count), nil, nonce.octets, key.octets)
        guard status == 0 else { throw .internal }
    }

    /// Decrypts into `out`, which has the size of the plaintext; false if key, nonce, associated data or a
    /// single byte is not the right one.
    package static func open(
        _ text: Bytes, key: Bytes, nonce: Bytes, associated: Bytes,
        into out: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard text.count == out.count + messageTagSize, key.count == Chain.keySize,
            nonce.count == messageNonceSize
        else { return false }
        return crypto_aead_xchacha20poly1305_ietf_decrypt(
            out.octets, nil, nil, text.octets, UInt64(text.count), associated.octets,
            UInt64(associated.count), nonce.octets, key.octets) == 0
    }
}

package import PawlCrypto

extension Session {
    /// Messages that have not come: keys of the newest, 32 bytes each, and how many are given up.
    package struct Gap {
        package let epoch: UInt32
        package let first: UInt32
        package let keys: SecretBuffer
        package let lost: UInt32

        package var count: UInt32 { UInt32(keys.count / Chain.keySize) }

        /// Moves `chain` on to `end`.
        init(_ chain: Chain, to end: UInt32, epoch: UInt32) throws(Failure) {
            let gap = end > chain.index ? end - chain.index : 0
            lost = gap > Session.skipLimit ? gap - Session.skipLimit : 0
            for _ in 0..<lost { try chain.advance() }
            first = chain.index
            self.epoch = epoch
            keys = try SecretBuffer(count: Int(gap - lost) * Chain.keySize)
            var writer = ByteWriter(keys.mutableBytes)
            for _ in 0..<(gap - lost) {
                writer.append(try chain.messageKey())
                try chain.advance()
            }
            try writer.finish()
        }
    }
}

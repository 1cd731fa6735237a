package import PawlCrypto
package import PawlStore

/// Slots: which keys open the store. A change is prepared under no lock, because a passphrase costs
/// Argon2id, and commits only if the slots are still those it was prepared for.
extension Store {
    package func slots() throws(Failure) -> [SlotRecord] {
        try slotTable().slots
    }

    package func addSlot(_ key: UnlockKey) throws(Failure) -> UInt8 {
        let (header, slots) = try slotTable()
        var free: UInt8 = 0
        while slots.contains(where: { $0.number == free }) { free += 1 }
        guard Int(free) < SlotRecord.limit else { throw .limit(.slots) }
        try write(key, as: free, expecting: header)
        return free
    }

    package func changeSlot(_ number: UInt8, to key: UnlockKey) throws(Failure) {
        let (header, slots) = try slotTable()
        guard slots.contains(where: { $0.number == number }) else { throw .notFound }
        try write(key, as: number, expecting: header)
    }

    package func removeSlot(_ number: UInt8) throws(Failure) {
        let (header, slots) = try slotTable()
        guard slots.contains(where: { $0.number == number }) else { throw .notFound }
        guard slots.count > 1 else { throw .state(.lastSlot) }
        try commit(expecting: header) { $0.delete(SlotRecord.key(number)) }
    }

    private func slotTable() throws(Failure) -> (header: StoreHeader, slots: [SlotRecord]) {
        guard !isBatch else { throw .state(.batch) }
        return try transact(.read) { (transaction) throws(Failure) in
            let (header, slots, _) = try transaction.slotTable()
            return (header, slots)
        }
    }

    private func write(
        _ key: UnlockKey, as number: UInt8, expecting header: StoreHeader
    ) throws(Failure) {
        let slot = try SlotRecord.wrap(
            shared.sealer, for: key, number: number, store: shared.id, now: now())
        try commit(expecting: header) { $0.putRaw(slot.key, slot.bytes) }
    }

    private func commit(
        expecting header: StoreHeader, _ change: (Transaction) -> Void
    ) throws(Failure) {
        try transact(.write) { (transaction) throws(Failure) in
            guard var current = try transaction.header(), current == header else {
                throw .busy(.changed)
            }
            guard current.slotRevision < UInt64.max else { throw .limit(.counter) }
            current.slotRevision += 1
            transaction.putRaw(StoreHeader.key, try current.encoded())
            change(transaction)
        }
    }
}

extension Transaction {
    fileprivate func header() throws(Failure) -> StoreHeader? {
        var header: StoreHeader?
        try getRaw(StoreHeader.key) { (value) throws(Failure) in
            header = try StoreHeader(decoding: value)
        }
        return header
    }

    fileprivate func slotTable() throws(Failure) -> (StoreHeader, [SlotRecord], isDamaged: Bool) {
        try withPort { (port) throws(Failure) in try SlotTable.read(port) }
    }
}

package import PawlCrypto
package import PawlStore

/// Slots: which keys open the store. A change is prepared under no lock, because a passphrase costs
/// Argon2id, and commits only if the slots are still those it was prepared for.
extension Store {
    package func slots() throws(Failure) -> [SlotRecord] {
        try slotTable().slots
    }

    package func addSlot(_ key: UnlockKey) throws(Failure) -> UInt8 {
        let table = try slotTable()
        let free = (0..<UInt8(SlotRecord.limit)).first { number in
            !table.slots.contains { $0.number == number }
                && !table.unread.contains { $0.number == number }
        }
        guard let free else { throw .limit(.slots) }
        try write(key, as: free, expecting: table.header)
        return free
    }

    package func changeSlot(_ number: UInt8, to key: UnlockKey) throws(Failure) {
        let table = try slotTable()
        guard table.slots.contains(where: { $0.number == number }) else { throw .notFound }
        try write(key, as: number, expecting: table.header)
    }

    package func removeSlot(_ number: UInt8) throws(Failure) {
        let table = try slotTable()
        guard table.slots.contains(where: { $0.number == number }) else { throw .notFound }
        guard table.slots.count > 1 else { throw .state(.lastSlot) }
        try commit(expecting: table.header) { (transaction) throws(Failure) in
            transaction.delete(SlotRecord.key(number))
            try transaction.scheduleCheckpoint()
        }
    }

    private func slotTable() throws(Failure) -> SlotTable {
        guard !isBatch else { throw .state(.batch) }
        return try transact(.read) { (transaction) throws(Failure) in
            try transaction.slotTable()
        }
    }

    private func write(
        _ key: UnlockKey, as number: UInt8, expecting header: StoreHeader
    ) throws(Failure) {
        let slot = try SlotRecord.wrap(
            shared.sealer, for: key, number: number, store: shared.id, now: now())
        try commit(expecting: header) { (transaction) throws(Failure) in
            transaction.putRaw(slot.key, slot.bytes)
            // What the slot held before opens the store no more.
            try transaction.scheduleCheckpoint()
        }
    }

    private func commit(
        expecting header: StoreHeader, _ change: (Transaction) throws(Failure) -> Void
    ) throws(Failure) {
        try transact(.write) { (transaction) throws(Failure) in
            guard var current = try transaction.header(), current == header else {
                throw .busy(.changed)
            }
            guard current.slotRevision < UInt64.max else { throw .limit(.counter) }
            current.slotRevision += 1
            transaction.putRaw(StoreHeader.key, try current.encoded())
            try change(transaction)
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
}

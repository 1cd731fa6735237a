import CPawl

/// What concerns sessions, and what leaves the library because of them.
extension Calls {
    // MARK: key packages

    func createPackage(
        _ account: Account.ID, oneTimeKeys: Int, lifetime: Duration?
    ) throws(PawlError) -> (package: KeyPackage, oneTimeKeys: [OneTimeKey]) {
        let store = try handle()
        var options = pawl_package_options.sized()
        options.lifetime_ns = nilMeansDefault(lifetime)
        options.one_time_count = UInt32(exactly: oneTimeKeys) ?? .max
        let view = try View { pawl_package_create(store, account.bytes, &options, $0) }
        let packages = try view.compactMap(pawl_view_package, KeyPackage.init)
        guard let package = packages.first else { throw PawlError(PAWL_INTERNAL) }
        return (package, try view.compactMap(pawl_view_package, OneTimeKey.init))
    }

    func packages(_ account: Account.ID) throws(PawlError) -> [KeyPackage] {
        let store = try handle()
        return try View { pawl_package_list(store, account.bytes, $0) }
            .compactMap(pawl_view_package, KeyPackage.init)
    }

    func deletePackage(_ id: KeyPackage.ID, _ account: Account.ID) throws(PawlError) {
        try check(pawl_package_delete(handle(), account.bytes, id.bytes))
    }

    func setMinimumSuite(_ suite: Suite, _ account: Account.ID) throws(PawlError) {
        try check(pawl_account_set_min_suite(handle(), account.bytes, suite.rawValue))
    }

    // MARK: peers

    func peer(_ name: String, _ account: Account.ID) throws(PawlError) -> Peer {
        let store = try handle()
        let view = try View { view in
            withBytes(of: name) { name, size in
                pawl_peer_get(store, account.bytes, name, size, view)
            }
        }
        return try view.only(pawl_view_peer, Peer.init)
    }

    func peers(
        _ account: Account.ID, after name: String, limit: Int
    ) throws(PawlError) -> [Peer] {
        let store = try handle()
        let view = try View { view in
            withBytes(of: name) { name, size in
                pawl_peer_list(store, account.bytes, name, size, limit, view)
            }
        }
        return try view.map(pawl_view_peer, Peer.init)
    }

    func trust(
        _ identity: Identity, _ trust: Peer.Trust, _ account: Account.ID
    ) throws(PawlError) {
        let store = try handle()
        try check(
            identity.withC { identity in
                pawl_peer_trust(store, account.bytes, identity, trust.rawValue)
            })
    }

    func allowSuite(
        _ suite: Suite, _ name: String, _ account: Account.ID
    ) throws(PawlError) {
        let store = try handle()
        try check(
            withBytes(of: name) { name, size in
                pawl_peer_allow_suite(store, account.bytes, name, size, suite.rawValue)
            })
    }

    // MARK: sessions

    func startSession(
        _ peer: String, _ package: [UInt8], _ account: Account.ID
    ) throws(PawlError) -> Session {
        let store = try handle()
        var id = [UInt8](repeating: 0, count: Session.ID.size)
        try check(
            withBytes(of: peer) { peer, peerSize in
                package.withUnsafeBytes { package in
                    var options = pawl_start_options.sized()
                    options.peer_name = peer
                    options.peer_name_size = peerSize
                    options.package = package.baseAddress
                    options.package_size = package.count
                    return pawl_session_start(store, account.bytes, &options, &id)
                }
            })
        return Session(Session.ID(unchecked: id), in: owner)
    }

    func resetSession(_ id: Session.ID, _ package: [UInt8]) throws(PawlError) -> Session {
        var new = [UInt8](repeating: 0, count: Session.ID.size)
        try check(pawl_session_reset(handle(), id.bytes, package, package.count, &new))
        return Session(Session.ID(unchecked: new), in: owner)
    }

    func closeSession(_ id: Session.ID) throws(PawlError) {
        try check(pawl_session_close(handle(), id.bytes))
    }

    func session(_ id: Session.ID) throws(PawlError) -> Session.Status {
        let store = try handle()
        return try View { pawl_session_get(store, id.bytes, $0) }
            .only(pawl_view_session) { Session.Status($0, in: owner) }
    }

    func sessions(_ peer: String, _ account: Account.ID) throws(PawlError) -> [Session.Status] {
        let store = try handle()
        let view = try View { view in
            withBytes(of: peer) { peer, size in
                pawl_session_list(store, account.bytes, peer, size, view)
            }
        }
        return try view.map(pawl_view_session) { Session.Status($0, in: owner) }
    }

    // MARK: messages

    func encrypt(_ plaintext: Secret, _ session: Session.ID) throws(PawlError) -> [UInt8] {
        let store = try handle()
        var status = PAWL_OK
        let frame = withUnsafeTemporaryAllocation(
            of: UInt8.self, capacity: plaintext.count + Int(PAWL_FRAME_OVERHEAD_MAX)
        ) { out in
            var count = 0
            status = plaintext.withUnsafeBytes { plaintext in
                pawl_session_encrypt(
                    store, session.bytes, plaintext.baseAddress, plaintext.count, out.baseAddress,
                    out.count, &count)
            }
            return array(out.baseAddress, count)
        }
        try check(status)
        return frame
    }

    func send(_ plaintext: Secret, _ session: Session.ID) throws(PawlError) -> Item.ID {
        let store = try handle()
        var ticket: Item.ID = 0
        try check(
            plaintext.withUnsafeBytes { plaintext in
                pawl_session_send(
                    store, session.bytes, plaintext.baseAddress, plaintext.count, &ticket)
            })
        return ticket
    }

    func receive(
        _ frame: [UInt8], _ account: Account.ID, keep: Bool
    ) throws(PawlError) -> Received {
        let store = try handle()
        return try withScratch(frame.count) { out throws(PawlError) in
            var received = pawl_received.sized()
            var count = 0
            try check(
                frame.withUnsafeBytes { bytes in
                    var frame = pawl_frame.sized()
                    frame.flags = keep ? UInt32(PAWL_RECEIVE_KEEP) : 0
                    frame.bytes = bytes.baseAddress
                    frame.size = bytes.count
                    return pawl_account_receive(
                        store, account.bytes, &frame,
                        out.baseAddress?.assumingMemoryBound(to: UInt8.self), out.count, &count,
                        &received)
                })
            return Received(received, UnsafeRawBufferPointer(rebasing: out[..<count]), in: owner)
        }
    }

    func receiveMany(
        _ frames: [[UInt8]], _ account: Account.ID, keep: Bool
    ) throws(PawlError) -> [Result<Received, PawlError>] {
        let store = try handle()
        // All frames lie in one buffer, so that one pointer keeps them alive.
        let bytes = frames.flatMap { $0 }
        return try withScratch(bytes.count) { out throws(PawlError) in
            var deliveries: [pawl_delivery] = []
            try check(
                bytes.withUnsafeBytes { bytes in
                    var offset = 0
                    for frame in frames {
                        var delivery = pawl_delivery.sized()
                        delivery.flags = keep ? UInt32(PAWL_RECEIVE_KEEP) : 0
                        delivery.frame = bytes.baseAddress.map { $0 + offset }
                        delivery.frame_size = frame.count
                        delivery.out = out.baseAddress.map { start in
                            (start + offset).assumingMemoryBound(to: UInt8.self)
                        }
                        delivery.out_size = frame.count
                        deliveries.append(delivery)
                        offset += frame.count
                    }
                    return pawl_account_receive_many(
                        store, account.bytes, &deliveries, deliveries.count)
                })
            return deliveries.map { delivery in
                delivery.status == PAWL_OK
                    ? .success(Received(delivery, in: owner))
                    : .failure(PawlError(delivery.status))
            }
        }
    }

    func kept(_ session: Session.ID, limit: Int) throws(PawlError) -> [Session.Kept] {
        let store = try handle()
        return try View { pawl_session_kept(store, session.bytes, limit, $0) }
            .map(pawl_view_kept, Session.Kept.init)
    }

    func forget(_ session: Session.ID, epoch: UInt32, index: UInt32) throws(PawlError) {
        try check(pawl_session_forget(handle(), session.bytes, epoch, index))
    }

    // MARK: outbox

    func take(limit: Int, lease: Duration?) throws(PawlError) -> [Item] {
        let store = try handle()
        return try View { pawl_outbox_take(store, limit, nilMeansDefault(lease), $0) }.items()
    }

    func ack(_ items: [Item.ID]) throws(PawlError) {
        try check(pawl_outbox_ack(handle(), items, items.count))
    }

    func fail(_ item: Item.ID, retryAfter: Duration?) throws(PawlError) {
        try check(pawl_outbox_fail(handle(), item, nilMeansDefault(retryAfter)))
    }

    func answer(_ item: Item.ID, _ body: [UInt8]) throws(PawlError) {
        try check(pawl_outbox_answer(handle(), item, body, body.count))
    }
}

import PawlCore
import PawlCrypto
import PawlEngine
import PawlStore
import Testing

/// A backup from end to end, over a server in memory.
@Suite struct BackupEngineTests {
    private static let large = String(repeating: "L", count: 5_000)

    /// Something of everything, uploaded.
    private func filled(_ server: BackupServer) throws -> BackupHost {
        let host = try BackupHost()
        try host.store.put("small", "s1", label: "a label")
        try host.include()
        try host.create()
        try host.run(server)
        try host.store.put("large", Self.large)
        try host.store.put("updated", "old")
        try host.store.put("deleted", "d1")
        try host.run(server)
        try host.store.put("updated", "new")
        try host.store.delete("deleted")
        try host.run(server)
        return host
    }

    private let secrets = ["small": "s1", "large": large, "updated": "new"]

    private func check(_ store: Store) throws {
        #expect(try store.contents().keys.sorted() == secrets.keys.sorted())
        for (name, secret) in secrets { #expect(try store.secret(name) == secret) }
        #expect(try store.verify().isEmpty)
    }

    private func recovered(
        _ server: BackupServer, _ clock: ManualClock, _ secret: UInt8 = 1
    ) throws -> BackupHost {
        let host = try BackupHost(clock)
        try host.include()
        try host.recover(secret)
        try host.run(server)
        try host.restore()
        try host.run(server)
        return host
    }

    @Test func aLostDeviceIsRecovered() throws {
        let server = BackupServer()
        let lost = try filled(server)
        #expect(try lost.report.pending == 0 && lost.report.active.generation == 1)
        // Status, and right behind it, once, that the key is there.
        let activated = try #require(
            lost.reports.firstIndex { $0.what == BackupHost.Event.keyCached })
        #expect(lost.count(BackupHost.Event.keyCached) == 1)
        #expect(lost.reports[activated - 1].report.active.generation == 1)
        #expect(!lost.reports[..<(activated - 1)].contains { $0.report.active.generation > 0 })

        let host = try recovered(server, lost.clock)
        try check(host.store)
        let restored = try #require(host.restored)
        // The deleted one is known to be gone.
        #expect(restored.progress.imported == 3 && restored.progress.known == 1)
        #expect(restored.findings == 0 && restored.writers == 1 && host.findings.isEmpty)
        #expect(restored.asOf > 0)
        // What came from there need not go there.
        #expect(try host.report.pending == 0)
        #expect(!server.asked.contains { $0.hasPrefix("put") && $0.hasSuffix("v2") })
        #expect(try host.store.keys(.backupShown, .backupSeen).isEmpty)
        // Again: all of it is here.
        try host.restore()
        try host.run(server)
        #expect(host.restored?.progress.known == 4 && host.restored?.progress.imported == 0)
    }

    @Test func theServerReadsNothing() throws {
        let server = BackupServer()
        _ = try filled(server)
        let all = server.versions.flatMap { $0.entries.values }.flatMap { $0 }
        for word in ["small", "s1", "label", "updated", "new", "engine", "LLLLLLLL"] {
            let bytes = Array(word.utf8)
            #expect(!all.indices.contains { all[$0...].starts(with: bytes) } || word == "s1")
        }
    }

    /// What was replaced or deleted leaves the server, too.
    @Test func replacedSecretsLeave() throws {
        let server = BackupServer()
        let host = try filled(server)
        let current = try #require(server.current)
        let secret = try BackupHost.secret(1)
        let keys = try withExtendedLifetime(secret) { try BackupKeys(secret.bytes) }
        let version = try BackupHost.version(current)
        var sizes: [Int] = []
        for (place, bytes) in current.entries {
            try bytes.withUnsafeBytes { bytes in
                guard case .item = try BackupWire(bytes) else { return }
                let (item, content) = try BackupItem.open(
                    bytes, at: place, keys, version: version.hash)
                #expect(item.writer == host.account)
                sizes.append(content.count)
                #expect(!text(content).contains("old") && !text(content).contains("d1"))
            }
        }
        #expect(sizes.count == 4 && sizes.contains(1))
    }

    /// Any order, any batches, any repetition of what was uploaded: the server has the same.
    @Test func uploadsInAnyOrder() throws {
        let server = BackupServer()
        let host = try filled(server)
        for number in 0..<40 {
            try host.store.put("n\(number % 7)", "\(number)")
            if number % 3 == 0 { try host.run(server) }
        }
        try host.run(server)
        let wanted = try #require(server.current?.entries)
        var random = Dice(3)
        for _ in 0..<100 {
            var entries = server.puts.flatMap { $0.entries }
            entries += entries.shuffled(using: &random).prefix(20)
            var found: [Identifier: [UInt8]] = [:]
            for (place, bytes) in entries.shuffled(using: &random) {
                try BackupServer.keep(bytes, at: place, in: &found)
            }
            #expect(found == wanted)
        }
    }

    /// The order that servers with two numbers go by is the same.
    @Test func ranksInTwoNumbers() throws {
        let server = BackupServer()
        let host = try filled(server)
        for number in 0..<30 { try host.store.put("n\(number % 5)", "\(number)") }
        try host.run(server)
        let ranks = try server.puts.flatMap { $0.entries }.map { entry in
            try entry.1.withUnsafeBytes { try BackupItem.rank(of: $0) }
        }
        for one in ranks {
            #expect(one.first < 1 << 31 && one.order < 1 << 31)
            for other in ranks where one < other {
                #expect((one.first, one.order) <= (other.first, other.order))
            }
        }
    }

    @Test func aResetFillsBeforeItDeletes() throws {
        let server = BackupServer()
        let host = try filled(server)
        try host.store.commandBackup(
            host.account, .reset(secret: BackupHost.secret(2), escrow: false))
        var most = 0
        while try host.turn(server) { most = max(most, server.versions.count) }
        #expect(most == 2 && server.versions.count == 1)
        let put = try #require(server.asked.lastIndex { $0 == "put v2" })
        let deleted = try #require(server.asked.lastIndex { $0 == "delete v1" })
        #expect(put < deleted)
        let fresh = try BackupHost(host.clock)
        try fresh.include()
        try fresh.recover(1)
        try fresh.run(server)
        #expect(fresh.told.contains(.init(what: BackupHost.Event.refused, count: 6)))
        try fresh.recover(2)
        try fresh.run(server)
        try fresh.restore()
        try fresh.run(server)
        try check(fresh.store)
        #expect(fresh.findings.isEmpty)
    }

    /// A restored account backs up what it restored when there is a new version.
    @Test func aResetAfterARestore() throws {
        let server = BackupServer()
        let lost = try filled(server)
        let host = try recovered(server, lost.clock)
        try host.store.commandBackup(
            host.account, .reset(secret: BackupHost.secret(9), escrow: false))
        try host.run(server)
        let next = try BackupHost(lost.clock)
        try next.include()
        try next.recover(9)
        try next.run(server)
        try next.restore()
        try next.run(server)
        try check(next.store)
        #expect(next.restored?.progress.imported == 3)
    }

    // MARK: Servers that lie

    private enum Lie: UInt64, CaseIterable {
        case rolledBack = 1
        case withheld = 3
        case listing = 4
        case omitted = 5
        case older = 6
        case unlisted = 9
        case undecryptable = 10
        case malformed = 11
    }

    @Test(arguments: Lie.allCases) private func whatAServerShows(_ lie: Lie) throws {
        let server = BackupServer()
        let host = try filled(server)
        // It knows how it was, and what is later.
        let before = try #require(server.current?.entries)
        try host.restore()
        try host.run(server)
        try host.store.put("updated", "newest")
        try host.store.put("more", "m")
        try host.run(server)
        try host.restore()
        try host.run(server)
        #expect(host.findings.isEmpty && host.restored?.findings == 0)
        let after = try #require(server.current?.entries)
        func kind(_ bytes: [UInt8]) -> UInt8 { bytes[5] }
        let manifest = try #require(after.first { kind($0.value) == 3 })
        let page = try #require(after.first { kind($0.value) == 4 })
        let items = after.filter { kind($0.value) < 3 }
        let changed = try #require(
            items.first { before[$0.key] != nil && before[$0.key] != $0.value })
        let new = try #require(items.first { before[$0.key] == nil })
        var shown = after
        switch lie {
        case .rolledBack: shown = before
        case .withheld: shown[manifest.key] = nil
        case .listing: shown[page.key]?[40] ^= 1
        case .omitted: shown[new.key] = nil
        case .older: shown[changed.key] = before[changed.key]
        case .unlisted:
            for (place, bytes) in before where kind(bytes) > 2 { shown[place] = bytes }
        case .undecryptable: shown[new.key] = changed.value
        case .malformed: shown[new.key]?[0] = 7
        }
        server.versions[0].entries = shown
        try host.restore()
        try host.run(server)
        #expect(host.findings.contains(lie.rawValue), "\(host.findings)")
        #expect(try #require(host.restored).findings > 0)
        // What is good among it is taken.
        #expect(try host.store.secret("updated") == "newest")
        // And what was not shown may come back.
        try host.store.commandBackup(
            host.account, .reset(secret: BackupHost.secret(9), escrow: false))
        try host.run(server)
        #expect(server.versions.count == 2)
        #expect(try host.report.active.generation == 2 && host.report.pending == 0)
    }

    /// Who has written knows what it wrote, before it ever restored.
    @Test func aWriterRemembers() throws {
        for isEmpty in [false, true] {
            let server = BackupServer()
            let host = try filled(server)
            let before = try #require(server.current?.entries)
            try host.store.put("updated", "newest")
            try host.run(server)
            server.versions[0].entries = isEmpty ? [:] : before
            try host.restore()
            try host.run(server)
            #expect(host.findings.contains(isEmpty ? 3 : 1), "\(host.findings)")
        }
    }

    /// What was listed for an upload that failed, and is not to be uploaded any more, is missed by nobody.
    @Test func whatWasNotUploadedIsNotListed() throws {
        let server = BackupServer()
        let host = try filled(server)
        try host.store.put("a", "1")
        try host.store.put("b", "2", project: "other")
        _ = try host.store.runAll()
        for row in try host.store.takeItems(limit: 9, lease: 0) {
            guard row.item.lane.kind == .backup else {
                try host.store.acknowledge([row.seq])
                continue
            }
            var failed = BackupServer.Reply()
            failed.result = .failed
            try host.store.answer(row.seq, failed)
        }
        try host.store.scoped {
            try host.store.excludeFromBackup(host.account, $0, allProjects: false)
        }
        try host.store.scoped("ada", "other") {
            try host.store.includeInBackup(host.account, $0, allProjects: false)
        }
        clock(host)
        try host.run(server)
        #expect(try host.report.pending == 0)
        let fresh = try BackupHost(host.clock)
        try fresh.include()
        try fresh.recover()
        try fresh.run(server)
        try fresh.restore()
        try fresh.run(server)
        #expect(fresh.findings.isEmpty, "\(fresh.findings)")
        #expect(fresh.restored?.progress.foreign == 1)
        #expect(try !fresh.store.contents().keys.contains("a"))
    }

    /// A recovery key that is typed where a new one was to be: the backup that it is of stays, and can be restored.
    @Test func aKeyOfAnotherBackupCreatesNothing() throws {
        let server = BackupServer()
        let lost = try filled(server)
        let host = try BackupHost(lost.clock)
        try host.include()
        try host.create()
        try host.run(server)
        try host.store.commandBackup(
            host.account, .reset(secret: BackupHost.secret(1), escrow: false))
        try host.run(server)
        let exists = BackupHost.Told(what: BackupHost.Event.refused, count: 2)
        #expect(host.told.count { $0 == exists } == 2)
        #expect(try host.report.active.generation == 0)
        try host.store.commandBackup(
            host.account, .reset(secret: BackupHost.secret(2), escrow: false))
        try host.run(server)
        #expect(server.versions.count == 2)
        server.versions.removeLast()
        try check(recovered(server, lost.clock).store)
    }

    /// A value that went into a vault since is in the version before, which stays.
    @Test func aFillWithoutWhatIsInAVault() throws {
        let server = BackupServer()
        let host = try filled(server)
        let vault = MemoryVault()
        host.store.close {}
        host.store = try openStore(on: host.storage, clock: host.clock, vault: vault)
        try host.store.put("updated", "in a vault")
        try host.store.commandBackup(
            host.account, .reset(secret: BackupHost.secret(2), escrow: false))
        try host.run(server)
        #expect(try host.report.active.generation == 2 && host.report.pending == 0)
        #expect(server.versions.count == 2)
    }

    /// What a newer Pawl has written here is left alone, and holds up nothing else.
    @Test func aNewerRecordInTheWay() throws {
        let server = BackupServer()
        let lost = try filled(server)
        let host = try BackupHost(lost.clock)
        try host.include()
        try host.recover()
        try host.run(server)
        try host.store.put("updated", "newer")
        let row = try #require(host.store.keys(.credential).first)
        let newer = try host.store.transact(.write) { (transaction) throws(Failure) in
            let record = try transaction.get(row)
            record?.mutableBytes[0] = 9
            if let record { transaction.put(row, record) }
            return record.map { array($0) }
        }
        try host.restore()
        try host.run(server)
        let restored = try #require(host.restored)
        #expect(restored.progress.imported == 2 && restored.progress.malformed == 1)
        #expect(host.findings == [11])
        let after = try host.store.transact(.read) { (transaction) throws(Failure) in
            try transaction.get(row).map { array($0) }
        }
        #expect(after == newer)
    }

    /// What was deleted here stays deleted, also when the version is out of sight while it is restored.
    @Test func aDeletionDuringARestore() throws {
        let server = BackupServer()
        let lost = try filled(server)
        server.pageSize = 100
        let host = try recovered(server, lost.clock)
        try host.restore()
        _ = try host.store.runAll()
        let page = try #require(
            host.store.takeItems(limit: 100, lease: 0).first { $0.item.lane.kind == .backup })
        let reply = try server.reply(to: page)
        try host.store.delete("updated")
        try host.store.commandBackup(host.account, .checkAndEnable)
        // The page is lent for so long.
        lost.clock.advance(31_000_000_000)
        for row in try host.store.takeItems(limit: 100, lease: 0)
        where try row.backupRequest()?.0 == .version {
            var none = BackupServer.Reply()
            none.result = .noVersion
            try host.store.answer(row.seq, none)
        }
        #expect(try host.report.active.generation == 0)
        try host.store.answer(page.seq, reply)
        #expect(try !host.store.contents().keys.contains("updated"))
        lost.clock.advance(31_000_000_000)
        try host.store.commandBackup(host.account, .checkAndEnable)
        try host.run(server)
        #expect(try !host.store.contents().keys.contains("updated"))
        try check(lost.store)
        let fresh = try recovered(server, lost.clock)
        #expect(try fresh.store.contents().keys.sorted() == ["large", "small"])
    }

    /// What cannot be read here is in the version before, which stays; what is deleted later leaves the next one all the same.
    @Test func aFillThatIsIncomplete() throws {
        let server = BackupServer()
        let host = try filled(server)
        let known = Set(try host.store.keys(.credential))
        try host.store.put("broken", "b")
        try host.run(server)
        let row = try #require(host.store.keys(.credential).first { !known.contains($0) })
        try host.store.damage(row)
        try host.store.commandBackup(
            host.account, .reset(secret: BackupHost.secret(2), escrow: false))
        try host.run(server)
        #expect(server.versions.count == 2)
        try host.store.delete("updated")
        try host.run(server)
        let fresh = try recovered(server, host.clock, 2)
        #expect(try fresh.store.contents().keys.sorted() == ["large", "small"])
        #expect(fresh.findings.isEmpty)
    }

    /// Thousands of changes of which none is to be uploaded.
    @Test func muchThatIsExcluded() throws {
        let server = BackupServer()
        let host = try filled(server)
        for number in 0..<3_000 { try host.store.put("n\(number)", "x") }
        try host.store.scoped {
            try host.store.excludeFromBackup(host.account, $0, allProjects: false)
        }
        let puts = server.puts.count
        try host.run(server)
        #expect(try host.report.pending == 0 && server.puts.count == puts)
    }

    /// A server that shows what cannot be remembered here.
    @Test func damagedMemoryOfARestore() throws {
        let server = BackupServer()
        let lost = try filled(server)
        for kind in [RowKind.backupShown, .backupSeen] {
            let host = try BackupHost(lost.clock)
            try host.include()
            try host.recover()
            try host.run(server)
            try host.restore()
            while try host.store.keys(kind).isEmpty, try host.turn(server) {}
            for row in try host.store.keys(kind) { try host.store.damage(row) }
            try host.run(server)
            try check(host.store)
            #expect(host.restored != nil)
        }
    }

    /// An item as it was and as it is, in one answer: the newer one stays, whichever comes last.
    @Test(arguments: [false, true]) func twoForOnePlace(_ isOldLast: Bool) throws {
        let server = BackupServer()
        let lost = try BackupHost()
        try lost.include()
        try lost.create()
        for number in 0..<7 { try lost.store.put("other \(number)", "\(number)") }
        try lost.store.put("name", Self.large)
        try lost.run(server)
        let before = try #require(server.current).entries
        lost.clock.advance(5_000_000_000)
        let new = String(repeating: "n", count: 5_000)
        try lost.store.put("name", new)
        try lost.run(server)
        server.pageSize = 100

        let host = try BackupHost(lost.clock)
        try host.include()
        try host.recover()
        try host.run(server)
        try host.restore()
        _ = try host.store.runAll()
        for row in try host.store.takeItems(limit: 100, lease: 0)
        where row.item.lane.kind == .backup {
            var reply = try server.reply(to: row)
            let place = try #require(
                reply.entries.firstIndex {
                    $0.bytes.count > 5_000 && before[$0.place]?.count == $0.bytes.count
                })
            // Both behind what is kept one by one, in a transaction of many.
            let newer = reply.entries.remove(at: place)
            let older = (newer.place, try #require(before[newer.place]))
            reply.entries += isOldLast ? [newer, older] : [older, newer]
            try host.store.answer(row.seq, reply)
        }
        lost.clock.advance(31_000_000_000)
        try host.run(server)
        let progress = try #require(host.restored).progress
        #expect(progress.imported == 8)
        #expect(progress.known == (isOldLast ? 1 : 0) && progress.improved == (isOldLast ? 0 : 1))
        #expect(try host.store.secret("name") == new)
        #expect(try host.store.keys(.secret).count == 1)
        #expect(try host.store.verify().isEmpty)
    }

    /// A page that takes long is not handed out again meanwhile.
    @Test func aLongAnswerKeepsItsItem() throws {
        let server = BackupServer()
        let clock = try filled(server).clock
        server.pageSize = 100
        // From behind: the first that fails while the answer does not count yet.
        var operation = 0
        var isKept: Bool?
        while isKept == nil {
            let host = try BackupHost(clock)
            try host.include()
            try host.recover()
            try host.run(server)
            try host.restore()
            _ = try host.store.runAll()
            let plan = FaultPlan(failing: operation == 0 ? Int.max : operation, .before)
            let faulty = try openStore(
                on: FaultyStorage(host.storage.sibling(), plan), clock: clock)
            let row = try #require(
                faulty.takeItems(limit: 100, lease: 0).first { $0.item.lane.kind == .backup })
            clock.advance(29_000_000_000)
            do { try faulty.answer(row.seq, server.reply(to: row)) } catch is Failure {}
            clock.advance(2_000_000_000)
            let rows = try host.store.takeItems(limit: 100, lease: 0)
            if !rows.contains(where: { $0.item.what == BackupHost.Event.restored }) {
                isKept = !rows.contains { $0.item.lane.kind == .backup }
            }
            operation = operation == 0 ? plan.count : operation - 1
            faulty.close {}
        }
        #expect(isKept == true)
    }

    /// Nobody else is given a page while what it shows is remembered, held against its listing, and forgotten.
    @Test func aLongRestoreKeepsItsItem() throws {
        let server = BackupServer()
        let lost = try filled(server)
        for number in 0..<1_100 { try lost.store.put("n\(number)", "x") }
        try lost.run(server)
        server.pageSize = 10_000
        let clock = lost.clock
        let host = try BackupHost(clock)
        let plan = FaultPlan()
        host.store = try openStore(
            on: FaultyStorage(host.storage.sibling(), plan), clock: clock)
        let other = try openStore(on: host.storage.sibling(), clock: clock)
        try host.include()
        try host.recover()
        try host.run(server)
        var isOther = false
        /// Answers the page while each transaction takes nearly as long as a lease; `onForgetting`: in the first that comes after.
        func answerSlowly(onForgetting: @escaping () throws -> Void = {}) throws {
            try host.restore()
            _ = try host.store.runAll()
            let rows = try host.store.takeItems(limit: 100, lease: 30_000_000_000)
            let page = try #require(rows.first { $0.item.lane.kind == .backup })
            var isGiven = false
            plan.onBegin = { mode in
                guard mode == .write, !isOther else { return }
                isOther = true
                defer { isOther = false }
                clock.advance(25_000_000_000)
                guard let rows = try? other.takeItems(limit: 100, lease: 0) else { return }
                if rows.contains(where: { $0.seq == page.seq }) { isGiven = true }
                guard (try? other.backup(host.account))?.marks == 33 else { return }
                plan.onBegin = { _ in }
                #expect(throws: Never.self) { try onForgetting() }
            }
            let reply = try server.reply(to: page)
            do { try host.store.answer(page.seq, reply) } catch is Failure {}
            plan.onBegin = { _ in }
            #expect(!isGiven)
        }
        // The store fails before anything is forgotten, so that the next restore has to.
        try answerSlowly { plan.arm(1) }
        #expect(try host.store.keys(.backupShown).count > 1_100)
        try answerSlowly()
        #expect(try host.store.keys(.backupShown, .backupSeen).isEmpty)
        clock.advance(31_000_000_000)
        try host.run(server)
        #expect(host.findings.isEmpty && host.count(BackupHost.Event.restored) == 2)
    }

    /// The host restores again as soon as it is told that a restore is over, while what it showed is being forgotten.
    @Test func aRestoreRightBehindAnother() throws {
        let server = BackupServer()
        let clock = try filled(server).clock
        let host = try BackupHost(clock)
        let plan = FaultPlan()
        host.store = try openStore(
            on: FaultyStorage(host.storage.sibling(), plan), clock: clock)
        let other = BackupHost(
            clock, host.storage, host.account,
            try openStore(on: host.storage.sibling(), clock: clock))
        try host.include()
        try host.recover()
        try host.run(server)
        try host.restore()
        var isBegun = false
        plan.onBegin = { mode in
            guard mode == .write, !isBegun, (try? other.report)?.marks == 33,
                (try? other.store.keys(.backupShown).isEmpty) == false
            else { return }
            isBegun = true
            clock.advance(31_000_000_000)
            #expect(throws: Never.self) {
                try other.restore()
                while try other.report.progress.count == 0, try other.turn(server) {}
            }
        }
        try host.run(server)
        #expect(isBegun)
        clock.advance(31_000_000_000)
        try host.run(server)
        #expect(other.restored?.progress.imported == 3)
        #expect(host.restored?.progress.known == 4 && host.restored?.findings == 0)
        #expect(host.findings.isEmpty && other.findings.isEmpty)
    }

    // MARK: Storms

    /// Each operation of the storage fails once, in each way it can: what goes on from there leads to the same.
    @Test(arguments: [FaultPlan.Mode.before, .afterCommit, .crash])
    func aStoreThatFails(_ mode: FaultPlan.Mode) throws {
        let clock = ManualClock()
        var operation = 0
        while true {
            operation += 1
            let server = BackupServer()
            let plan = FaultPlan(failing: operation * 7, mode)
            let host = try BackupHost(clock)
            for (name, secret) in secrets { try host.store.put(name, secret) }
            let data = host.storage
            // Until something fails.
            let faulty = try? openStore(on: FaultyStorage(data.sibling(), plan), clock: clock)
            if let faulty {
                let one = BackupHost(clock, data, host.account, faulty)
                do {
                    try one.include()
                    try one.create()
                    try one.run(server)
                    try faulty.commandBackup(
                        host.account, .reset(secret: BackupHost.secret(2), escrow: false))
                    try one.run(server)
                } catch is Failure {}
            }
            let isOver = mode == .afterCommit ? operation * 7 > plan.count : !plan.fired
            // And then on.
            let again = BackupHost(
                clock, data, host.account, try openStore(on: data.sibling(), clock: clock))
            do { try again.include() } catch Failure.exists {}
            clock.advance(31_000_000_000)
            try again.run(server)
            try again.store.commandBackup(
                host.account, .reset(secret: BackupHost.secret(3), escrow: false))
            for _ in 0..<5 {
                clock.advance(3_700_000_000_000)
                try again.run(server)
            }
            #expect(try again.report.active.generation > 0 && again.report.pending == 0)
            let fresh = try recovered(server, clock, 3)
            try check(fresh.store)
            #expect(fresh.findings.isEmpty, "operation \(operation): \(fresh.findings)")
            if isOver { break }
        }
        #expect(operation > 20)
    }

    /// The same while what was lost comes back.
    @Test(arguments: [FaultPlan.Mode.before, .afterCommit, .crash])
    func aRestoreThatFails(_ mode: FaultPlan.Mode) throws {
        let server = BackupServer()
        let clock = try filled(server).clock
        var operation = 0
        while true {
            operation += 1
            let plan = FaultPlan(failing: operation * 5, mode)
            let host = try BackupHost(clock)
            let data = host.storage
            if let faulty = try? openStore(on: FaultyStorage(data.sibling(), plan), clock: clock) {
                let one = BackupHost(clock, data, host.account, faulty)
                do {
                    try one.include()
                    try one.recover()
                    try one.run(server)
                    try one.restore()
                    try one.run(server)
                } catch is Failure {}
            }
            let isOver = mode == .afterCommit ? operation * 5 > plan.count : !plan.fired
            let again = BackupHost(
                clock, data, host.account, try openStore(on: data.sibling(), clock: clock))
            do { try again.include() } catch Failure.exists {}
            try again.recover()
            for _ in 0..<3 {
                clock.advance(3_700_000_000_000)
                try again.run(server)
            }
            try again.restore()
            try again.run(server)
            try check(again.store)
            #expect(again.findings.isEmpty, "operation \(operation): \(again.findings)")
            if isOver { break }
        }
        #expect(operation > 10)
    }

    /// A damaged record costs what it held, and not what is in the store.
    @Test func damagedRecords() throws {
        let server = BackupServer()
        for kind in [
            RowKind.backup, .backupChange, .backupItem, .backupListing, .backupPage,
            .backupWriters, .backupScope,
        ] {
            let host = try filled(server)
            try host.restore()
            try host.run(server)
            for row in try host.store.keys(kind) { try host.store.damage(row) }
            try host.store.put("later", "l")
            #expect(try host.store.secret("later") == "l")
            #expect(try !host.store.verify().isEmpty)
            clock(host)
            _ = try? host.run(server)
            try host.store.commandBackup(
                host.account, .reset(secret: BackupHost.secret(2), escrow: false))
            for _ in 0..<3 {
                clock(host)
                try host.run(server)
            }
            #expect(try host.report.active.generation > 0, "\(kind)")
            // What names the items is gone with these.
            if ![.backupChange, .backupItem].contains(kind) {
                let fresh = try recovered(server, host.clock, 2)
                #expect(try fresh.store.contents().count == 4, "\(kind)")
                #expect(fresh.findings.isEmpty, "\(kind): \(fresh.findings)")
            }
            server.versions = []
        }
    }

    private func clock(_ host: BackupHost) { host.clock.advance(3_700_000_000_000) }

    // MARK: History

    @Test func yesterdaysMessages() throws {
        let couple = try Couple(keepsHistory: true)
        let talk = HistoryTests()
        let stored = try talk.talk(couple, epochs: 5)
        let server = BackupServer()
        let bob = BackupHost(
            couple.bob.clock, couple.bob.storage, couple.bob.account, couple.bob.store)
        try bob.create()
        try bob.run(server)
        let fresh = try recovered(server, bob.clock)
        let restored = try #require(fresh.restored)
        #expect(restored.progress.imported > 4 && restored.findings == 0)
        var opened = 0
        for one in stored {
            let texts = try [bob, fresh].map { host in
                try one.frame.withUnsafeBytes { frame -> String? in
                    do throws(Failure) {
                        let message = try host.store.openHistory(host.account, frame)
                        return withExtendedLifetime(message) { text(message.message) }
                    } catch {
                        guard error == .notFound || error == .auth else { throw error }
                        return nil
                    }
                }
            }
            // Only what is closed has left the store.
            guard let text = texts[1] else { continue }
            #expect(text == texts[0])
            opened += 1
        }
        #expect(opened > stored.count / 2)
        // It opens what was stored, and is good for nothing else.
        #expect(try fresh.store.keys(.session, .peer).isEmpty)
        let rows = try fresh.store.history(fresh.account, after: nil, limit: 100)
        #expect(rows.count == Int(restored.progress.imported))
        #expect(rows.allSatisfy { $0.record.isImported && $0.record.isClosed })
    }

    /// One item, when it is wanted; what is not there is not asked for again at once.
    @Test func oneItemOnDemand() throws {
        let server = BackupServer()
        let lost = try filled(server)
        let host = try BackupHost(lost.clock)
        try host.include()
        try host.recover()
        try host.run(server)
        func fetch(_ name: String) throws {
            try host.store.scoped { scope in
                try withText(name) { try host.store.fetchBackup(host.account, scope, $0) }
            }
            try host.run(server)
        }
        try fetch("large")
        #expect(try host.store.contents().count == 1)
        #expect(try host.store.secret("large") == Self.large)
        try fetch("nothing")
        let count = server.asked.count
        try fetch("nothing")
        #expect(server.asked.count == count && host.told.last?.count == 11)
        #expect(try host.store.keys(.backupShown).isEmpty)
    }

    /// A backup that is deleted with its account leaves no row.
    @Test func nothingIsLeftOfAnAccount() throws {
        let server = BackupServer()
        let host = try filled(server)
        try host.store.put("more", "m")
        try host.store.deleteAccount(host.account)
        let rows = try host.store.keys(
            .backup, .backupChange, .backupItem, .backupListing, .backupPage, .backupWriters,
            .backupScope, .payload, .item, .job)
        #expect(rows.isEmpty)
    }
}

extension BackupHost {
    static func version(_ version: BackupServer.Version) throws -> BackupVersion {
        try version.body.withUnsafeBytes {
            try BackupVersion(number: version.number, body: BackupVersion.Body(decoding: $0))
        }
    }
}

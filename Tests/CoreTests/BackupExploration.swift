import PawlCore
import PawlCrypto

/// Every state that a backup can get into with a host, a server and another device, breadth first, over the machine that
/// is shipped.
///
/// Each input starts from the stored bytes alone, so a crash may come before any. Requests stay out until they are answered:
/// the server may do what one says early, late or twice, and its answer may come late or never, so an answer can be older
/// than a command. Every state is then left to a world that behaves, where all that was asked for has to come true.
final class BackupExploration {
    /// How often each thing may happen.
    struct Bound {
        var creates = 0
        var resets = 0
        var checks = 0
        var deletes = 0
        var disables = 0
        /// The secret of what the server has; of nothing.
        var secrets = 0
        var wrongSecrets = 0
        /// Another device resets.
        var others = 0
        /// The server forgets its newest version.
        var rollbacks = 0
        /// Refused by the host; done, and the answer is lost; done twice; a wrong version where there is none.
        var failures = 0
        var losses = 0
        var repeats = 0
        var lies = 0
        var stops = 0
        var items = 0
        /// The newest item changes again.
        var rewrites = 0
        /// All secrets have to be put away first.
        var escrow = false
    }

    static let short = [
        Bound(creates: 1, resets: 1, checks: 1, failures: 1, items: 1),
        Bound(resets: 1, secrets: 1, wrongSecrets: 1, others: 1, items: 1),
        Bound(resets: 2, deletes: 1, losses: 1),
        Bound(resets: 1, losses: 1, lies: 1, items: 3),
        Bound(resets: 2, checks: 1, rollbacks: 1, items: 1),
        Bound(resets: 2, items: 2, rewrites: 1),
        Bound(resets: 2, secrets: 1, rollbacks: 1),
        Bound(resets: 1, checks: 1, others: 1, repeats: 1, lies: 1, items: 1),
        Bound(creates: 1, disables: 1, failures: 1, stops: 1, items: 1, escrow: true),
        Bound(resets: 1, checks: 1, deletes: 1, disables: 1, lies: 1, items: 1),
    ]
    static let long =
        short + [
            Bound(creates: 1, resets: 1, checks: 1, others: 1, failures: 1, items: 1),
            Bound(creates: 1, resets: 1, secrets: 1, wrongSecrets: 1, others: 1, items: 1),
            Bound(resets: 2, checks: 1, repeats: 1, lies: 1, items: 2),
            Bound(resets: 2, deletes: 1, disables: 1, secrets: 1, others: 1, stops: 1),
            Bound(resets: 2, secrets: 1, failures: 1, losses: 1, items: 2, escrow: true),
        ]

    private(set) var states = 0
    private(set) var transitions = 0
    private(set) var activations = 0
    private(set) var deletions = 0
    /// Answers to a check that were older than a command.
    private(set) var overtaken = 0
    /// Inputs until a world that behaves was at rest.
    private(set) var longestHealing = 0
    private(set) var failure: String?

    private let bound: Bound

    init(_ bound: Bound) { self.bound = bound }

    struct Wrong: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    // MARK: The world

    /// What a request is about, and how far it is.
    private struct Out: Hashable {
        enum What: Hashable {
            case get
            case escrow(UInt8)
            case create(BackupVersion.Body)
            case delete([UInt8])
            /// Of each item the change that is in it, or 0.
            case put([UInt8], changes: [UInt8])
            case secret
        }
        enum Reply: Hashable {
            case current(BackupVersion)
            case created([UInt8])
            case done, stored, wrongVersion, noVersion
        }
        let what: What
        /// Since it was made a command was given.
        var isOld = false
        var reply: Reply?
    }

    private struct Stored: Hashable {
        let version: BackupVersion
        /// How many items there were when it was made, and of each the last change that it has.
        var owed = 0
        var changes: [UInt8] = []

        func has(_ item: Int, since change: UInt8) -> Bool {
            changes.indices.contains(item) && changes[item] >= max(change, 1)
        }
    }

    /// The last command that says what shall be.
    private enum Will: UInt8 { case nothing, have, gone }

    private struct World: Hashable {
        /// The machine as stored, with requests numbered from 1 in the order of `outs`, and revision 0.
        var bytes: [UInt8]
        var outs: [Out] = []
        /// The last one is current.
        var server: [Stored] = []
        var numbers: UInt8 = 0
        var secrets: UInt8 = 0
        var escrowed: UInt64 = 0
        /// Of each item the number of its last change.
        var items: [UInt8] = []
        /// Something made versions that the machine need not know.
        var isDisturbed = false
        /// Whose secret was given, when the server had that.
        var given: BackupVersion?
        var will = Will.nothing
        var spent: [UInt8] = Array(repeating: 0, count: Thing.allCases.count)
    }

    private enum Thing: Int, CaseIterable {
        case create, reset, check, delete, disable, secret, wrongSecret, other, rollback
        case failure, loss, again, lie, stop, item, rewrite
    }

    private func limit(_ thing: Thing) -> Int {
        switch thing {
        case .create: bound.creates
        case .reset: bound.resets
        case .check: bound.checks
        case .delete: bound.deletes
        case .disable: bound.disables
        case .secret: bound.secrets
        case .wrongSecret: bound.wrongSecrets
        case .other: bound.others
        case .rollback: bound.rollbacks
        case .failure: bound.failures
        case .loss: bound.losses
        case .again: bound.repeats
        case .lie: bound.lies
        case .stop: bound.stops
        case .item: bound.items
        case .rewrite: bound.rewrites
        }
    }

    private enum Move {
        case thing(Thing)
        /// Of the request at this place.
        case act(Int), deliver(Int), fail(Int), lose(Int), lie(Int), again(Int)
        case deadline, load

        var name: String {
            if case .thing(let thing) = self { return "\(thing)" }
            return "\(self)"
        }
    }

    private static func secret(_ number: UInt8) throws -> SecretBuffer {
        let secret = try SecretBuffer(zeros: BackupKeys.secretSize)
        secret.mutableBytes[0] = number
        return secret
    }

    private static func machine(_ bytes: [UInt8]) throws -> Backup {
        try bytes.withUnsafeBytes { try Backup(decoding: SecretBuffer(copying: $0)) }
    }

    private static func bytes(_ machine: Backup) throws -> [UInt8] {
        let buffer = try machine.encoded()
        return withExtendedLifetime(buffer) { Array(buffer.bytes) }
    }

    // MARK: Moves

    /// Nil: this cannot happen here.
    private func move(_ before: World, _ move: Move) throws -> World? {
        var world = before
        switch move {
        case .thing(let thing):
            guard world.spent[thing.rawValue] < limit(thing) else { return nil }
            world.spent[thing.rawValue] += 1
            return try take(thing, &world) ? world : nil
        case .act(let place):
            guard world.outs[place].reply == nil, world.outs[place].what != .secret else {
                return nil
            }
            try serve(place, &world)
            // An answer that nobody waits for may come at once as well as later.
            guard isAwaited(place, world) else { return try self.move(world, .deliver(place)) }
        case .deliver(let place):
            guard let reply = world.outs[place].reply else { return nil }
            let out = world.outs[place]
            if reply == .wrongVersion || reply == .noVersion, case .put = out.what,
                isAwaitedUpload(place, world)
            {
                age(&world)
            }
            let answer: Backup.Answer =
                switch reply {
                case .current(let version): .current(version, count: 0)
                case .created(let number): .created(number: number)
                case .done: .done
                case .stored: .stored(count: 0)
                case .wrongVersion: .wrongVersion
                case .noVersion: .noVersion
                }
            try settle(place, answer, &world)
        case .fail(let place):
            guard spend(.failure, &world), world.outs[place].reply == nil,
                world.outs[place].what != .secret
            else { return nil }
            try settle(place, .failed, &world)
        case .lose(let place):
            guard world.outs[place].reply != nil, spend(.loss, &world) else { return nil }
            if case .create = world.outs[place].what { world.isDisturbed = true }
            try settle(place, .failed, &world)
        case .lie(let place):
            guard case .put = world.outs[place].what, world.outs[place].reply == nil,
                spend(.lie, &world)
            else { return nil }
            if isAwaitedUpload(place, world) { age(&world) }
            try settle(place, .wrongVersion, &world)
        case .again(let place):
            guard world.outs[place].reply != nil, spend(.again, &world) else { return nil }
            if case .create = world.outs[place].what { world.isDisturbed = true }
            let reply = world.outs[place].reply
            try serve(place, &world)
            world.outs[place].reply = reply
        case .deadline:
            guard let deadline = try Self.machine(world.bytes).deadline else { return nil }
            try step(.deadline, now: max(deadline, 0), &world)
        case .load: try step(.load, &world)
        }
        return world
    }

    private func spend(_ thing: Thing, _ world: inout World) -> Bool {
        guard world.spent[thing.rawValue] < limit(thing) else { return false }
        world.spent[thing.rawValue] += 1
        return true
    }

    private func take(_ thing: Thing, _ world: inout World) throws -> Bool {
        switch thing {
        case .create, .reset:
            let secret = try Self.secret(world.secrets)
            world.secrets += 1
            let machine = try Self.machine(world.bytes)
            let refused = try step(
                thing == .create
                    ? .create(secret: secret, escrow: bound.escrow)
                    : .reset(secret: secret, escrow: bound.escrow), &world)
            guard refused.isEmpty else {
                guard machine.active != nil || world.will == .have else {
                    throw Wrong("refused to create")
                }
                return true
            }
            world.will = .have
            age(&world, keepsNew: true)
        case .check:
            let isOff = try Self.machine(world.bytes).intent == .off
            try step(.checkAndEnable, &world)
            if isOff {
                world.will = .nothing
                age(&world, keepsNew: true)
            }
        case .delete:
            try step(.delete, &world)
            world.will = .gone
            world.given = nil
            age(&world, keepsNew: true)
        case .disable:
            try step(.disable, &world)
            if world.will == .have { world.will = .nothing }
            world.given = nil
            age(&world, keepsNew: true)
        case .secret, .wrongSecret:
            if !world.outs.contains(where: { $0.what == .secret }) {
                try step(.askForSecret, &world)
            }
            guard let place = world.outs.firstIndex(where: { $0.what == .secret }) else {
                return false
            }
            var secret = try Self.secret(255)
            if thing == .secret {
                guard let current = world.server.last else { return false }
                secret = try self.secret(of: current.version, world)
            }
            let isEnabled = try Self.machine(world.bytes).intent
            let refused = try step(
                .secretReceived(secret, highest: 0, request: UInt64(place + 1), isOwn: true), &world
            )
            guard try Self.machine(world.bytes).intent == isEnabled else {
                throw Wrong("a secret changes what is wanted")
            }
            if thing == .secret, refused.isEmpty { world.given = world.server.last?.version }
        case .other:
            let secret = try Self.secret(world.secrets)
            world.secrets += 1
            let keys = try withExtendedLifetime(secret) { try BackupKeys(secret.bytes) }
            world.given = nil
            let last = world.server.last?.version
            // It was told of the highest generation.
            let highest = try max(last?.generation ?? 0, Self.machine(world.bytes).highest)
            let body = try BackupVersion.Body(
                generation: highest + 1, previous: last?.hash ?? .none, keys)
            _ = try put(body, &world)
            world.isDisturbed = true
        case .rollback:
            guard world.server.count > 1 else { return false }
            world.server.removeLast()
            world.isDisturbed = true
            world.given = nil
        case .stop: try step(.stop, &world)
        case .item, .rewrite:
            if thing == .item { world.items.append(0) }
            guard let newest = world.items.indices.last else { return false }
            world.items[newest] = UInt8(try Self.machine(world.bytes).changes + 1)
            try step(.itemsChanged(1, areStored: false), &world)
        case .failure, .loss, .again, .lie: return false
        }
        return true
    }

    private func secret(of version: BackupVersion, _ world: World) throws -> SecretBuffer {
        for number in 0..<world.secrets {
            let secret = try Self.secret(number)
            if try withExtendedLifetime(secret, { try version.check(secret.bytes) }) {
                return secret
            }
        }
        throw Wrong("a version of nobody")
    }

    /// What checks find is older than what just happened. `keepsNew`: but for one that was made by it.
    private func age(_ world: inout World, keepsNew: Bool = false) {
        let newest = world.outs.lastIndex { $0.what == .get }
        for place in world.outs.indices where world.outs[place].what == .get {
            let isNew = keepsNew && place == newest && world.outs[place].reply == nil
            if !isNew || isAskedBefore(place, world) { world.outs[place].isOld = true }
        }
    }

    /// Whether the machine waits for another request than this.
    private func isAskedBefore(_ place: Int, _ world: World) -> Bool {
        number(at: 17, world.bytes) != UInt64(place + 1)
    }

    private func isAwaited(_ place: Int, _ world: World) -> Bool {
        [17, 25, 33, 41].contains { number(at: $0, world.bytes) == UInt64(place + 1) }
    }

    private func isAwaitedUpload(_ place: Int, _ world: World) -> Bool {
        number(at: 25, world.bytes) == UInt64(place + 1)
    }

    // MARK: The server

    private func put(_ body: BackupVersion.Body, _ world: inout World) throws -> [UInt8] {
        world.numbers += 1
        let number = Array("v\(world.numbers)".utf8)
        world.server.append(Stored(version: try BackupVersion(number: number, body: body)))
        return number
    }

    private func serve(_ place: Int, _ world: inout World) throws {
        let reply: Out.Reply
        switch world.outs[place].what {
        case .get: reply = world.server.last.map { .current($0.version) } ?? .noVersion
        case .escrow(let secret):
            world.escrowed |= 1 << UInt64(secret)
            reply = .done
        case .create(let body):
            reply = .created(try put(body, &world))
            world.server[world.server.count - 1].owed = world.items.count
        case .delete(let number):
            let found = world.server.contains { $0.version.number == number }
            world.server.removeAll { $0.version.number == number }
            reply = found ? .done : .noVersion
        case .put(let number, let changes):
            if world.server.last?.version.number == number {
                var last = world.server[world.server.count - 1]
                last.changes += Array(
                    repeating: 0, count: max(0, changes.count - last.changes.count))
                for (item, change) in changes.enumerated() {
                    last.changes[item] = max(last.changes[item], change)
                }
                world.server[world.server.count - 1] = last
                reply = .stored
            } else {
                let found = world.server.contains { $0.version.number == number }
                reply = found ? .wrongVersion : .noVersion
            }
        case .secret: return
        }
        world.outs[place].reply = reply
    }

    // MARK: The machine

    /// The host answers a request.
    private func settle(_ place: Int, _ answer: Backup.Answer, _ world: inout World) throws {
        let out = world.outs[place]
        let before = try Self.machine(world.bytes).snapshot
        let awaited = !isAskedBefore(place, world)
        try step(.answered(UInt64(place + 1), answer), &world, settles: place)
        let after = try Self.machine(world.bytes).snapshot
        guard after.intent == before.intent else { throw Wrong("an answer changes the intent") }
        if out.what == .get, out.isOld {
            overtaken += 1
            // Any input may begin an upload.
            guard after.revision == before.revision, after.phase == before.phase else {
                throw Wrong("a check overwrites a newer command")
            }
        } else if case .current(let version, _) = answer, awaited, out.what == .get {
            guard after.server.version == version else { throw Wrong("an answer that is ignored") }
        } else if case .created(let number) = answer, awaited {
            guard after.server.version?.number == number else {
                throw Wrong("what was created is ignored")
            }
        } else if after.active != nil, after.active != before.active {
            throw Wrong("active without an answer of the server")
        }
    }

    @discardableResult
    private func step(
        _ input: Backup.Input, now: Int64 = 0, _ world: inout World, settles: Int? = nil
    ) throws -> [Backup.Refusal] {
        var machine = try Self.machine(world.bytes)
        let (before, highest) = (machine.snapshot, machine.highest)
        let outcome = try machine.step(input, now: now, random: 0)
        let requests = outcome.requests.map { ($0.number, cut($0.request, &machine)) }
        let bytes = try Self.bytes(machine)
        // What a listener sees that asks: the stored state.
        let committed = try Self.machine(bytes)
        guard try Self.bytes(committed) == bytes else { throw Wrong("bytes that change") }
        guard committed.highest >= highest else { throw Wrong("rolled back") }
        try check(before, committed, outcome.events, world)
        for (number, request) in requests {
            guard number == UInt64(world.outs.count + 1) else { throw Wrong("a number is skipped") }
            world.outs.append(try out(request, committed, world))
        }
        world.bytes = bytes
        renumber(&world, without: settles)
        return outcome.events.compactMap {
            guard case .refused(let refusal) = $0 else { return nil }
            return refusal
        }
    }

    /// One change fits into a request.
    private func cut(_ request: Backup.Request, _ machine: inout Backup) -> Backup.Request {
        guard case .putItems(let version, let after, let upTo) = request, upTo > after + 1 else {
            return request
        }
        machine.cutBatch(at: after + 1)
        return .putItems(version, after: after, upTo: after + 1)
    }

    private func out(
        _ request: Backup.Request, _ machine: Backup, _ world: World
    ) throws -> Out {
        switch request {
        case .getCurrentVersion: return Out(what: .get)
        case .escrow(let secret): return Out(what: .escrow(secret.bytes[0]))
        case .createVersion(let body): return Out(what: .create(body))
        case .putItems(let version, let after, let upTo):
            let changes = world.items.map { after < $0 && $0 <= upTo ? $0 : 0 }
            return Out(what: .put(version.number, changes: changes))
        case .askForSecret: return Out(what: .secret)
        case .deleteVersion(let version):
            deletions += 1
            if machine.intent == .on {
                let old = world.server.first { $0.version.number == version.number }
                let new = world.server.first { $0.version == machine.active }
                guard machine.active != nil, machine.active?.number != version.number else {
                    throw Wrong("deletes what nothing has replaced")
                }
                let kept = old?.changes ?? []
                if let new,
                    kept.indices.contains(where: { kept[$0] > 0 && !new.has($0, since: kept[$0]) })
                {
                    throw Wrong("deletes what is not in the next version")
                }
                if let new, (0..<new.owed).contains(where: { !new.has($0, since: 1) }) {
                    throw Wrong("deletes before the next version is filled")
                }
            }
            return Out(what: .delete(version.number))
        case .getPage, .getItem: throw Wrong("a download that nobody wants")
        }
    }

    /// What must be true of each step, once it is committed.
    private func check(
        _ before: Backup.Snapshot, _ machine: Backup, _ events: [Backup.Event], _ world: World
    ) throws {
        let after = machine.snapshot
        var cached = 0
        for (place, event) in events.enumerated() {
            switch event {
            case .status(let snapshot):
                guard place == 0 else { throw Wrong("the status does not come first") }
                guard snapshot == after else { throw Wrong("an event of another state") }
                guard snapshot.revision == before.revision + 1 else { throw Wrong("a revision") }
            case .keyCached(let version):
                cached += 1
                guard place == 1, version == after.active else { throw Wrong("a key of nothing") }
            default: break
            }
        }
        let isActivated = after.active != nil && after.active != before.active
        guard cached == (isActivated ? 1 : 0) else { throw Wrong("key cached \(cached) times") }
        if case .status = events.first {
        } else if after.revision != before.revision
            || after.server != before.server || after.active != before.active
            || after.key != before.key || after.intent != before.intent
            || after.phase != before.phase || after.download != before.download
        {
            throw Wrong("changed without an event")
        }
        guard let active = after.active else {
            if case .ready = after.download { throw Wrong("ready without a version") }
            return
        }
        if isActivated { activations += 1 }
        guard after.intent == .on, after.server.version == active, after.key == active,
            after.download == .ready(active)
        else { throw Wrong("active and not what the server has") }
        guard active.generation == machine.highest else { throw Wrong("not the highest") }
        guard let secret = machine.key?.secret, try active.check(secret.bytes) else {
            throw Wrong("active without its key")
        }
        let number = UInt64(secret.bytes[0])
        let isOwn = !bound.escrow || world.escrowed & 1 << number != 0
        guard isOwn || bound.others > 0 else { throw Wrong("active before it is escrowed") }
    }

    private func number(at place: Int, _ bytes: [UInt8]) -> UInt64 {
        bytes.withUnsafeBytes {
            UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: place, as: UInt64.self))
        }
    }

    /// States that differ in what was counted only are one.
    private func renumber(_ world: inout World, without settled: Int?) {
        var numbers: [UInt64] = [0]
        var kept: [Out] = []
        for (place, out) in world.outs.enumerated() {
            // What does nothing any more: one old check is as good as two.
            let isIdle = !isAwaited(place, world) && (out.what == .secret || kept.contains(out))
            if place == settled || isIdle {
                numbers.append(0)
            } else {
                kept.append(out)
                numbers.append(UInt64(kept.count))
            }
        }
        world.outs = kept
        func set(_ place: Int, _ number: UInt64) {
            for byte in 0..<8 {
                world.bytes[place + byte] = UInt8(truncatingIfNeeded: number >> UInt64(8 * byte))
            }
        }
        set(1, 0)
        set(9, UInt64(kept.count + 1))
        for place in [17, 25, 33, 41] { set(place, numbers[Int(number(at: place, world.bytes))]) }
    }

    // MARK: All of them

    private var worlds: [World] = []
    private var parents: [(world: Int, move: Move)?] = []
    private var seen: Set<World> = []
    private var healed: Set<World> = []
    private var isWalk = false

    func run() throws {
        visit(World(bytes: try Self.bytes(Backup())), nil)
        var place = 0
        while place < worlds.count, failure == nil {
            let world = worlds[place]
            for move in moves(world) {
                guard failure == nil else { break }
                do {
                    guard let next = try self.move(world, move) else { continue }
                    transitions += 1
                    visit(next, (place, move))
                } catch { fail("\(error)", place, move) }
            }
            place += 1
        }
        states = worlds.count
    }

    /// All things together, many times, one way after another: what is too much for every order of it.
    static let all = Bound(
        creates: 2, resets: 4, checks: 4, deletes: 2, disables: 2, secrets: 4, wrongSecrets: 2,
        others: 3, rollbacks: 2, failures: 5, losses: 3, repeats: 3, lies: 3, stops: 2, items: 9,
        rewrites: 4)

    func walk(_ count: Int) throws {
        isWalk = true
        var state: UInt64 = 1
        func next(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % limit
        }
        for _ in 0..<count {
            var world = World(bytes: try Self.bytes(Backup()))
            worlds = [world]
            parents = [nil]
            for _ in 0..<60 where failure == nil {
                let all = moves(world)
                let move = all[next(all.count)]
                do {
                    guard let next = try self.move(world, move) else { continue }
                    world = next
                    transitions += 1
                    visit(world, (worlds.count - 1, move))
                } catch { fail("\(error)", worlds.count - 1, move) }
            }
        }
        states = seen.count
    }

    private func moves(_ world: World) -> [Move] {
        var moves: [Move] = Thing.allCases.map { .thing($0) }
        for place in world.outs.indices {
            moves += [
                .act(place), .deliver(place), .fail(place), .lose(place), .lie(place),
                .again(place),
            ]
        }
        return moves + [.deadline, .load]
    }

    private func visit(_ world: World, _ parent: (world: Int, move: Move)?) {
        guard seen.insert(world).inserted || isWalk else { return }
        worlds.append(world)
        parents.append(parent)
        do { try heal(world) } catch { fail("\(error)", worlds.count - 1, nil) }
    }

    /// From here on the host answers, the server does what it is asked for, and time passes.
    private func heal(_ start: World) throws {
        var world = start
        var way: [World] = []
        while true {
            if healed.contains(world) { break }
            way.append(world)
            guard way.count < 100 else { throw Wrong("never at rest") }
            let next = world.outs.indices.first { world.outs[$0].what != .secret }
            if try Self.machine(world.bytes).isStopped {
                world = try move(world, .load) ?? world
            } else if let next {
                world = try move(world, .act(next)) ?? world
                if next < world.outs.count { world = try move(world, .deliver(next)) ?? world }
            } else if let later = try move(world, .deadline) {
                world = later
            } else {
                try checkRest(world)
                break
            }
        }
        longestHealing = max(longestHealing, way.count)
        healed.formUnion(way)
    }

    private func checkRest(_ world: World) throws {
        let machine = try Self.machine(world.bytes)
        let snapshot = machine.snapshot
        guard snapshot.phase == .idle, !snapshot.isUploading else {
            throw Wrong("at rest, and it waits")
        }
        if snapshot.intent == .off, world.will == .gone, !world.isDisturbed, !world.server.isEmpty {
            throw Wrong("deleted, and something is left")
        }
        guard snapshot.intent == .on else { return }
        let current = world.server.last
        if let key = machine.key, let current, snapshot.active == nil,
            current.version.hash == key.version.hash
        {
            throw Wrong("it holds the key, and does nothing")
        }
        if let given = world.given, given == current?.version, snapshot.active == nil,
            given.generation >= machine.highest
        {
            throw Wrong("a right secret is lost")
        }
        if world.will == .have, !world.isDisturbed, snapshot.active == nil {
            throw Wrong("it was to have one")
        }
        guard snapshot.active != nil else { return }
        if snapshot.pending > 0 { throw Wrong("something waits to be uploaded") }
        guard let current, current.version == snapshot.active else { return }
        guard world.items.indices.allSatisfy({ current.has($0, since: world.items[$0]) }) else {
            throw Wrong("a change that was never uploaded")
        }
        if !world.isDisturbed, world.server.count > 1 { throw Wrong("an old version is left") }
    }

    private func fail(_ what: String, _ place: Int, _ last: Move?) {
        guard failure == nil else { return }
        var way = last.map { [$0.name] } ?? []
        var place = place
        while let parent = parents[place] {
            way.append(parent.move.name)
            place = parent.world
        }
        failure = "\(what): \(way.reversed().joined(separator: ", "))"
    }
}

package import PawlCrypto

/// An account's key packages: which is published, which comes next, and when each goes.
///
///     rotateAt              answered              the next one is answered           removeAt
///     ───────► staged ────────────────► current ─────────────────────────► superseded ───────► gone
///                │                         │                                   ▲
///                │                         └ a welcome without a one-time      │
///                │                           key pulls rotateAt in             │
///                └──── not answered for as long as packages rotate ────────────┘
///
/// Publish before retire: nothing is superseded before the host says that the next one is published. What is staged is
/// offered again with the same bytes. One that nobody answered for may have been published all the same, so its private
/// half stays until nobody can use it.
///
/// The machine is the state and what may happen to it. Keys are drawn by the engine, and so are jobs: they follow from
/// `deadlines` after each step. Times are nanoseconds.
package struct Rotation {
    package struct Options: Equatable {
        package var rotate = 30 * day
        package var lifetime = 90 * day
        /// How long a private half is kept after its replacement was answered.
        package var keep = 14 * day
        /// From a welcome without a one-time key to the rotation, and between two rotations for that reason.
        package var welcomeDelay = 5 * Backoff.second
        package var welcomePause = Backoff.hour
        package var readback = 7 * day
        /// One-time keys that a server has, and under how many it gets more.
        package var pool: UInt32 = 100
        package var poolFloor: UInt32 = 20

        package static let day = 24 * Backoff.hour
        /// A package's life, and the most of what is counted in it.
        fileprivate static let longest = KeyPackage.lifetimeLimit * 1_000_000

        package init() {}

        /// `misuse` for what contradicts itself.
        package func check() throws(Failure) {
            guard (Backoff.minute...Self.longest).contains(lifetime),
                (Backoff.second..<lifetime).contains(rotate), (0...Self.longest).contains(keep),
                (0...Backoff.hour).contains(welcomeDelay),
                (0...Self.longest).contains(welcomePause),
                (Backoff.minute...Self.longest).contains(readback)
            else { throw .misuse(.time) }
            guard pool <= PackageRecord.oneTimeLimit, poolFloor <= pool else {
                throw .misuse(.size)
            }
        }
    }

    package struct Staged: Equatable {
        package let id: Identifier
        package let notAfter: Int64
        package let oneTime: UInt32
        package internal(set) var drawn: Int64
        var rotateAt: Int64
        var asking: Asking
    }

    package struct Current: Equatable {
        package let id: Identifier
        package let notAfter: Int64
        var hasExpired = false
    }

    package struct Superseded: Equatable {
        package let id: Identifier
        package internal(set) var removeAt: Int64
    }

    /// One-time keys on their way to the server.
    package struct Batch: Equatable {
        package let first: UInt32
        package let count: UInt32
        var asking: Asking
    }

    /// A request in the outbox, or one that the host gave up and that is made again at a time.
    package enum Asking: Equatable {
        case asked(seq: UInt64)
        case again(at: Int64)

        fileprivate func trusted(now: Int64) -> Asking {
            guard case .again(let at) = self else { return self }
            return .again(at: min(at, Backoff.later(now, Rotation.rest)))
        }
    }

    /// What a server has, as the host read it back.
    package enum Served: Equatable {
        case nothing
        case unreadable
        /// Of another identity.
        case foreign
        /// Of this identity. `isKnown`: byte for byte one that is stored here.
        case own(Identifier, isKnown: Bool)
    }

    /// How what is published differs from what should be. Numbers of `pawl.h`.
    package enum Finding: UInt64 {
        case absent = 1
        case expired = 2
        case superseded = 3
        case unknown = 4
        case foreign = 5
        case unreadable = 6
    }

    /// What a job has to do, outside of this machine.
    package enum Task: Equatable {
        /// Draw a package, and then `stage` it.
        case draw
        /// Ask the host to publish what is staged, again.
        case publishAgain(Staged)
        /// Draw one-time keys, and then `add` them.
        case drawKeys(of: Identifier, first: UInt32, count: UInt32)
        case publishKeysAgain(of: Identifier, Batch)
        /// Ask the host what the server has.
        case readBack
    }

    package internal(set) var options: Options
    package internal(set) var staged: Staged?
    package internal(set) var current: Current?
    package internal(set) var superseded: [Superseded] = []
    /// Of the current package.
    package internal(set) var rotateAt: Int64
    package internal(set) var readbackAt: Int64
    /// The request that is out.
    var readback: UInt64?
    /// When a welcome was last the reason of a rotation.
    var lastWelcome = Int64.min
    /// One-time keys of the current package: those on the server, as far as known, the next one's number, and those
    /// that are on their way.
    package internal(set) var available: UInt32 = 0
    var nextKey: UInt32 = 1
    package internal(set) var batch: Batch?

    /// Clocks differ by so much at most.
    private static let skew = KeyPackage.clockSkew * 1_000_000
    /// The farthest that a job is planned ahead, and the removal of a package.
    package static let longest = Options.longest
    package static let longestKeep = longest + skew
    /// How long a request that the host gave up rests.
    package static let rest = Backoff.hour

    /// The first package is drawn at once. What there is already goes when that has taken its place.
    package init(
        _ options: Options, adopting packages: [(id: Identifier, notAfter: Int64)], now: Int64
    ) throws(Failure) {
        try options.check()
        self.options = options
        rotateAt = now
        readbackAt = Backoff.later(now, options.readback)
        for package in packages { supersede(package.id, package.notAfter) }
    }

    /// Where a package is on its way; nil: unknown here.
    package enum Standing: Equatable {
        case staged
        case current
        case superseded(removeAt: Int64)
    }

    package func standing(of id: Identifier) -> Standing? {
        if id == staged?.id { return .staged }
        if id == current?.id { return .current }
        return superseded.first { $0.id == id }.map { .superseded(removeAt: $0.removeAt) }
    }

    // MARK: Deadlines

    /// When `task` has something to do; nil: until something else happens.
    package struct Deadlines: Equatable {
        package var rotate: Int64?
        package var keys: Int64?
        package var readback: Int64?
    }

    package func deadlines(now: Int64) -> Deadlines {
        var due = Deadlines()
        due.rotate = rotateAt
        if let staged {
            let end = Backoff.later(staged.drawn, options.rotate)
            due.rotate = end
            if case .again(let at) = staged.asking { due.rotate = min(at, end) }
        }
        if let current {
            if !current.hasExpired {
                due.rotate = min(due.rotate ?? current.notAfter, current.notAfter)
            }
            if staged == nil, let batch {
                if case .again(let at) = batch.asking { due.keys = at }
            } else if wantsKeys {
                due.keys = now
            }
            if readback == nil { due.readback = readbackAt }
        }
        return due
    }

    private var wantsKeys: Bool {
        available < options.poolFloor && batch == nil && staged == nil
            && nextKey <= UInt32.max - options.pool
    }

    /// A time further away than any that is planned was written under another clock.
    private mutating func distrust(now: Int64) {
        let farthest = Backoff.later(now, options.rotate)
        if rotateAt > farthest { rotateAt = now }
        if readbackAt > Backoff.later(now, options.readback) { readbackAt = now }
        if let staged {
            self.staged?.drawn = min(staged.drawn, now)
            self.staged?.rotateAt = min(staged.rotateAt, farthest)
            self.staged?.asking = staged.asking.trusted(now: now)
        }
        if let batch { self.batch?.asking = batch.asking.trusted(now: now) }
        let pause = Backoff.after(options.welcomePause, options.welcomeDelay)
        if lastWelcome > Backoff.after(now, pause) { lastWelcome = .min }
        let last = Backoff.after(now, Self.longestKeep)
        for place in superseded.indices where superseded[place].removeAt > last {
            superseded[place].removeAt = Backoff.after(now, options.keep)
        }
    }

    // MARK: Jobs

    /// What the job that rotates does now. `expired` is told once for a package whose replacement nobody answered for.
    package mutating func rotationTask(now: Int64) -> (task: Task?, expired: Bool) {
        distrust(now: now)
        var expired = false
        if let current, now >= current.notAfter, !current.hasExpired {
            self.current?.hasExpired = true
            expired = true
        }
        guard let staged else { return (now >= rotateAt ? .draw : nil, expired) }
        if now >= Backoff.later(staged.drawn, options.rotate) { return (.draw, expired) }
        if case .again(let at) = staged.asking, now >= at {
            return (.publishAgain(staged), expired)
        }
        return (nil, expired)
    }

    package mutating func keysTask(now: Int64) -> Task? {
        distrust(now: now)
        guard let current, staged == nil else { return nil }
        if let batch {
            guard case .again(let at) = batch.asking, now >= at else { return nil }
            return .publishKeysAgain(of: current.id, batch)
        }
        guard wantsKeys else { return nil }
        return .drawKeys(of: current.id, first: nextKey, count: options.pool - available)
    }

    package mutating func readbackTask(now: Int64) -> Task? {
        distrust(now: now)
        return current != nil && readback == nil && now >= readbackAt ? .readBack : nil
    }

    /// A package was drawn and stored. Answers the request of one that was waiting in vain.
    package mutating func stage(
        _ id: Identifier, notAfter: Int64, oneTime: UInt32, seq: UInt64, now: Int64, random: UInt64
    ) -> UInt64? {
        var abandoned: UInt64?
        if let staged {
            if case .asked(let seq) = staged.asking { abandoned = seq }
            supersede(staged.id, staged.notAfter)
        }
        // Accounts that were made together do not rotate together.
        let isFirst = current == nil
        let fifth = UInt64(options.rotate / 5)
        let spread = isFirst && fifth > 0 ? Int64(random % fifth) : 0
        staged = Staged(
            id: id, notAfter: notAfter, oneTime: oneTime, drawn: now,
            rotateAt: Backoff.later(now, options.rotate - spread), asking: .asked(seq: seq))
        return abandoned
    }

    package mutating func add(keys count: UInt32, from first: UInt32, seq: UInt64) {
        batch = Batch(first: first, count: count, asking: .asked(seq: seq))
        let (next, overflow) = first.addingReportingOverflow(count)
        nextKey = overflow ? .max : next
    }

    package mutating func askedAgain(toPublish seq: UInt64) { staged?.asking = .asked(seq: seq) }
    package mutating func askedAgain(toPublishKeys seq: UInt64) { batch?.asking = .asked(seq: seq) }
    package mutating func askedToReadBack(_ seq: UInt64) { readback = seq }

    // MARK: What the host says

    package enum Heard: Equatable {
        /// Of a request that does not count any more.
        case nothing
        case published
        case keysPublished
        /// Nil: as it should be.
        case readBack(Finding?)
    }

    /// What is staged is published. Answers the requests that are over with that: for one-time keys of the package before
    /// it, and to read back, since what was fetched meanwhile may be either. That is asked anew: its time has passed.
    private mutating func publish(_ staged: Staged, now: Int64) -> [UInt64] {
        var dropped: [UInt64] = []
        if let batch, case .asked(let seq) = batch.asking { dropped.append(seq) }
        if let readback { dropped.append(readback) }
        if let current { supersede(current.id, current.notAfter) }
        for place in superseded.indices {
            let end = Backoff.later(now, options.keep)
            superseded[place].removeAt = min(superseded[place].removeAt, end)
        }
        current = Current(id: staged.id, notAfter: staged.notAfter)
        rotateAt = staged.rotateAt
        available = staged.oneTime
        nextKey = staged.oneTime + 1
        batch = nil
        readback = nil
        self.staged = nil
        return dropped
    }

    /// The host did what a request asked for.
    package mutating func answered(_ seq: UInt64, now: Int64) -> (heard: Heard, dropped: [UInt64]) {
        if let staged, staged.asking == .asked(seq: seq) {
            return (.published, publish(staged, now: now))
        }
        if let batch, batch.asking == .asked(seq: seq) {
            available = min(batch.count, UInt32.max - available) + available
            self.batch = nil
            return (.keysPublished, [])
        }
        return (.nothing, [])
    }

    /// The host looked at what the server has.
    package mutating func readBack(
        _ seq: UInt64, _ served: Served, now: Int64
    ) -> (heard: Heard, dropped: [UInt64]) {
        guard readback == seq else { return (.nothing, []) }
        readback = nil
        readbackAt = Backoff.later(now, options.readback)
        let finding: Finding
        switch served {
        case .nothing: finding = .absent
        case .unreadable: finding = .unreadable
        case .foreign: finding = .foreign
        case .own(let id, isKnown: true) where id == staged?.id:
            // Its answer was lost.
            guard let staged else { return (.nothing, []) }
            var dropped: [UInt64] = []
            if case .asked(let seq) = staged.asking { dropped.append(seq) }
            return (.published, dropped + publish(staged, now: now))
        case .own(let id, isKnown: true) where id == current?.id:
            guard let current, now >= current.notAfter else { return (.readBack(nil), []) }
            finding = .expired
        case .own(let id, isKnown: true) where superseded.contains { $0.id == id }:
            finding = .superseded
        case .own: finding = .unknown
        }
        rotateAt = min(rotateAt, now)
        return (.readBack(finding), [])
    }

    /// Whether the answer to a request would count.
    package func awaits(_ seq: UInt64) -> Bool {
        let asked = Asking.asked(seq: seq)
        return staged?.asking == asked || batch?.asking == asked || readback == seq
    }

    /// The host gave a request up: the same is asked for again when it had a rest.
    package mutating func gaveUp(_ seq: UInt64, now: Int64) {
        let again = Asking.again(at: Backoff.later(now, Self.rest))
        if staged?.asking == .asked(seq: seq) { staged?.asking = again }
        if batch?.asking == .asked(seq: seq) { batch?.asking = again }
        if readback == seq {
            readback = nil
            readbackAt = Backoff.later(now, options.readback)
        }
    }

    package mutating func change(_ options: Options, now: Int64) throws(Failure) {
        try options.check()
        self.options = options
        rotateAt = min(rotateAt, Backoff.later(now, options.rotate))
        readbackAt = min(readbackAt, Backoff.later(now, options.readback))
    }

    /// Now, unless one is on its way.
    package mutating func rotate(now: Int64) { rotateAt = min(rotateAt, now) }

    /// What all packages carry has changed: now, and one that is on its way is replaced when it was answered for.
    package mutating func renew(now: Int64) {
        rotate(now: now)
        if let staged { self.staged?.rotateAt = min(staged.rotateAt, now) }
    }

    /// What the server says that it still has.
    package mutating func report(available: UInt32) {
        if current != nil { self.available = available }
    }

    // MARK: What peers do

    /// A welcome was accepted. Without a one-time key what it was made for stays, and whoever gets that private half
    /// reads the first messages: so it shall not stay for long. Many of them cannot push the rotation ahead of them,
    /// and strangers cannot make one more than once in a while.
    package mutating func used(_ id: Identifier, withOneTimeKey: Bool, now: Int64) {
        distrust(now: now)
        guard !withOneTimeKey else {
            if id == current?.id, available > 0 { available -= 1 }
            return
        }
        var wanted = Backoff.later(now, options.welcomeDelay)
        if lastWelcome != .min {
            wanted = max(wanted, Backoff.after(lastWelcome, options.welcomePause))
        }
        if id == staged?.id, let planned = staged?.rotateAt, wanted < planned {
            staged?.rotateAt = wanted
            lastWelcome = wanted
        } else if id == current?.id, staged == nil, wanted < rotateAt {
            rotateAt = wanted
            lastWelcome = wanted
        }
    }

    // MARK: Removal

    /// Until nobody can use it; a replacement that is published shortens that.
    private mutating func supersede(_ id: Identifier, _ notAfter: Int64) {
        superseded.append(Superseded(id: id, removeAt: Backoff.after(notAfter, Self.skew)))
    }

    /// Whether a superseded package's time is over, and it is forgotten; nil: it is none. Otherwise it stays until
    /// `removeAt`.
    package mutating func remove(_ id: Identifier, now: Int64) -> Bool? {
        distrust(now: now)
        guard let place = superseded.firstIndex(where: { $0.id == id }) else { return nil }
        guard now >= superseded[place].removeAt else { return false }
        superseded.remove(at: place)
        return true
    }

    /// The host wants it gone. False: it is in use.
    package mutating func forget(_ id: Identifier) -> Bool {
        guard id != staged?.id, id != current?.id else { return false }
        superseded.removeAll { $0.id == id }
        return true
    }
}

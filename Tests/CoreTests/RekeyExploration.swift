import PawlCore
import PawlCrypto

/// Every state that two sides can rekey themselves into, breadth first, over the machine that is shipped.
///
/// A frame that was sent may arrive at any time, any number of times, or never, so what a side can always say (an empty
/// message, its phase again) counts as sent at once, and a crash that loses what was to be said is a frame that never
/// arrives. Each input starts from the stored bytes alone. A side does the same with the same input, so each pair of the
/// two is run once and remembered: what is explored are the ways of putting them together.
final class RekeyExploration {
    struct Bound {
        /// Of each side.
        var triggers = 1
        var busy = 0
        /// Of both sides.
        var closes = 0
        /// One side is put back to an earlier state, once.
        var restores = false
        var seed: UInt8 = 0
    }

    /// For every run: offers cross in both orders. 68,000 states.
    static let short = [
        Bound(triggers: 1, busy: 1, closes: 2, seed: 0),
        Bound(triggers: 1, busy: 1, closes: 2, seed: 1),
        Bound(triggers: 1, busy: 1, restores: true, seed: 1),
        Bound(triggers: 1, closes: 1, restores: true, seed: 1),
        Bound(triggers: 2, busy: 1, closes: 2, seed: 1),
        Bound(triggers: 2, restores: true, seed: 2),
    ]
    /// Three million.
    static let long =
        short + [
            Bound(triggers: 3, busy: 1, closes: 1, seed: 1),
            Bound(triggers: 3, restores: true, seed: 2),
            Bound(triggers: 4, seed: 0),
        ]

    /// What is found, and the way to the first state that is wrong.
    private(set) var states = 0
    private(set) var transitions = 0
    /// Crossed offers by the side that yielded.
    private(set) var crossed = [0, 0]
    private(set) var restored = 0
    private(set) var reported = 0
    private(set) var newest: UInt32 = 0
    /// In frames that arrived: until both were idle again, and until one saw that the other was put back.
    private(set) var longestHealing = 0
    private(set) var longestSilence = 0
    /// All that was noted for the trace.
    private(set) var events: Set<Rekey.Step.Event> = []
    private(set) var failure: String?

    private let bound: Bound
    private let exchange: NumberedExchange
    private var parties: [Round.Parties] = []

    init(_ bound: Bound) throws {
        self.bound = bound
        exchange = NumberedExchange(seed: bound.seed)
        let session = try [UInt8](repeating: 7, count: Identifier.size)
            .withUnsafeBytes { try Identifier($0) }
        for side in [Session.Side.initiator, .responder] {
            parties.append(Round.Parties(session: session, side: side, suite: .x25519))
        }
    }

    // MARK: One side

    /// What a side has stored, and how much it has drawn, which nothing takes back.
    private struct Side: Hashable {
        let number: Int
        /// The machine, with no attempts: they only count.
        var bytes: [UInt8]
        /// The chain keys of each epoch up to the current one, initiator's ‖ responder's.
        var keys: [[UInt8]]
        var drawn: UInt8 = 0
        /// It has closed the session, and answers with that.
        var isOver = false

        var epoch: UInt32 { UInt32(keys.count - 1) }

        func key(of side: Int, _ epoch: UInt32) -> [UInt8] {
            Array(keys[Int(epoch)][side * 32..<side * 32 + 32])
        }
    }

    private struct Frame: Hashable {
        let sender: Int
        let epoch: UInt32
        let key: [UInt8]
        let parts: [UInt8]
    }

    private enum Input: Hashable {
        case plainTrigger, freshTrigger, close
        /// `isLate`: read by the kept key of a late message, if it can be.
        case frame(Int32, mayAnswer: Bool, isLate: Bool)
    }

    /// What an input does to a side.
    private struct Step {
        var to: Int32
        /// In their order, and then what can always be said.
        var says: [Int32] = []
        var standing: [Int32] = []
        var isReported = false
        var isBusy = false
        var crossed: Int?
        var failure: String?
    }

    private var sides: [Side] = []
    private var sideNumbers: [Side: Int32] = [:]
    private var frames: [Frame] = []
    private var frameNumbers: [Frame: Int32] = [:]
    private struct Move: Hashable {
        let side: Int32
        let input: Input
    }
    private var steps: [Move: Step] = [:]

    private func step(_ side: Int32, _ input: Input) -> Step {
        let move = Move(side: side, input: input)
        if let known = steps[move] { return known }
        var step = Step(to: side)
        do {
            try run(sides[Int(side)], input, &step)
            step.standing = try standing(sides[Int(step.to)])
        } catch { step.failure = "\(error)" }
        steps[move] = step
        return step
    }

    private func run(_ before: Side, _ input: Input, _ step: inout Step) throws {
        var side = before
        if side.isOver { return }
        var machine = try machine(of: side)
        exchange.begin(side.number, side.drawn)
        let outcome: Rekey.Outcome
        switch input {
        case .close:
            side.isOver = true
            side.bytes = []
            step.to = number(side)
            return
        case .plainTrigger, .freshTrigger:
            do {
                let hasRound = machine.pending != nil
                let (target, says) = try machine.trigger(
                    isFresh: input == .freshTrigger, isWaited: true, exchange)
                guard target == side.epoch + (hasRound && input == .freshTrigger ? 2 : 1),
                    machine.wanted >= target
                else { throw Wrong("a trigger for epoch \(target)") }
                outcome = says
            } catch Failure.state {
                guard try bytes(machine) == before.bytes else { throw Wrong("changed by a throw") }
                return
            }
        case .frame(let number, let mayAnswer, let isLate):
            let frame = frames[Int(number)]
            guard let key = Self.readingKey(of: machine, side, frame, isLate) else {
                if frame.epoch > side.epoch {
                    step.isReported = true
                } else {
                    let parts = try machine.parts(machine.reminder, refused: nil, pause: 0)
                    step.says = [send(side, try RekeyBytes.encode(parts))]
                }
                return
            }
            guard key == frame.key else {
                step.isReported = true
                return
            }
            do {
                outcome = try frame.parts.withUnsafeBytes {
                    try machine.receive(
                        RekeyBytes.parse($0), under: frame.epoch, mayAnswer: mayAnswer, exchange)
                }
            } catch Failure.desynchronized {
                guard try bytes(machine) == before.bytes else { throw Wrong("changed by a throw") }
                step.isReported = true
                return
            }
        }
        if let round = outcome.committed {
            side.keys.append(
                Array(round.chain(of: .initiator)) + Array(round.chain(of: .responder)))
        }
        guard machine.epoch == side.epoch, machine.heard <= side.epoch else {
            throw Wrong("an epoch without its keys")
        }
        try checkTrace(outcome.steps, before, machine)
        side.bytes = try bytes(machine)
        side.drawn = exchange.drawn
        step.isBusy = outcome.refused != nil
        if outcome.steps.contains(where: { $0.event == .crossedYields }) {
            step.crossed = side.number
        }
        if !outcome.says.isEmpty {
            let parts = try machine.parts(outcome.says, refused: outcome.refused, pause: 1_000)
            step.says = [send(side, try RekeyBytes.encode(parts))]
            withExtendedLifetime(machine) {}
        }
        step.to = number(side)
        try checkSecrets(side, machine)
    }

    /// The key by which a session would read the frame: what `Session` decides.
    private static func readingKey(
        of machine: Rekey, _ side: Side, _ frame: Frame, _ isLate: Bool
    ) -> [UInt8]? {
        if frame.epoch == side.epoch || (frame.epoch + 1 == side.epoch && machine.hasPrevious) {
            return side.key(of: frame.sender, frame.epoch)
        }
        if frame.epoch < side.epoch {
            return isLate && side.key(of: frame.sender, frame.epoch) == frame.key ? frame.key : nil
        }
        guard frame.epoch == side.epoch + 1, let candidate = machine.candidate else { return nil }
        return Array(candidate.chain(of: frame.sender == 0 ? .initiator : .responder))
    }

    /// What a side can say unasked: something of the application, or its phase again.
    private func standing(_ side: Side) throws -> [Int32] {
        if side.isOver { return [send(side, try RekeyBytes.encode([.close]))] }
        var machine = try machine(of: side)
        if isClosed(machine) { return [] }
        let outcome = machine.retry()
        try checkTrace(outcome.steps, side, machine)
        let says = outcome.says
        guard try bytes(machine) == side.bytes else { throw Wrong("a retry is more than a count") }
        guard says.isEmpty == (machine.pending == nil) else { throw Wrong("a retry says nothing") }
        var all = [send(side, try RekeyBytes.encode([]))]
        if !says.isEmpty {
            let parts = try machine.parts(says, refused: nil, pause: 0)
            all.append(send(side, try RekeyBytes.encode(parts)))
            withExtendedLifetime(machine) {}
        }
        return all
    }

    /// The trace tells where the epoch went, and the constructor.
    private func checkTrace(_ steps: [Rekey.Step], _ before: Side, _ machine: Rekey) throws {
        var epoch = before.epoch
        var holds = try isOffered(self.machine(of: before))
        for step in steps {
            events.insert(step.event)
            guard step.from == epoch, step.to == (step.event == .committed ? epoch + 1 : epoch),
                step.constructor == .none || holds == (step.constructor != .created)
            else { throw Wrong("a trace that is not so: \(step.event)") }
            epoch = step.to
            if step.constructor != .none { holds = step.constructor == .created }
        }
        guard epoch == machine.epoch, holds == isOffered(machine) else {
            throw Wrong("a trace that ends elsewhere: \(steps.map(\.event))")
        }
    }

    /// What was drawn for an offer is stored while that offer is out, and the keys of messages never.
    private func checkSecrets(_ side: Side, _ machine: Rekey) throws {
        var own: [UInt8] = []
        if case .offered(let offer) = machine.phase { own = Array(offer.pair.bytes.prefix(32)) }
        for number in 0..<side.drawn {
            let secret = try exchange.secret(side.number, number)
            guard contains(side.bytes, secret) == (secret == own) else {
                throw Wrong("a constructor outlives its offer")
            }
        }
        for keys in side.keys where contains(side.bytes, Array(keys[..<32])) {
            throw Wrong("a chain key is stored with the machine")
        }
    }

    // MARK: Both sides

    private struct World: Hashable {
        var sides: (Int32, Int32)
        /// The frames ever sent.
        var sent: Int32
        /// The state that a side may be put back to; -1: none yet, -2: it has been put back.
        var saved: Int32 = -1
        var triggers: (UInt8, UInt8)
        var busy: UInt8
        var closes: UInt8

        subscript(number: Int) -> Int32 {
            get { number == 0 ? sides.0 : sides.1 }
            set { if number == 0 { sides.0 = newValue } else { sides.1 = newValue } }
        }
        private var words: (UInt64, UInt64, UInt64) {
            (
                UInt64(UInt32(bitPattern: sides.0)) << 32 | UInt64(UInt32(bitPattern: sides.1)),
                UInt64(UInt32(bitPattern: sent)) << 32 | UInt64(UInt32(bitPattern: saved)),
                UInt64(triggers.0) << 24 | UInt64(triggers.1) << 16 | UInt64(busy) << 8
                    | UInt64(closes)
            )
        }
        static func == (a: World, b: World) -> Bool { a.words == b.words }
        func hash(into hasher: inout Hasher) {
            hasher.combine(words.0)
            hasher.combine(words.1)
            hasher.combine(words.2)
        }
    }

    private enum Event {
        case input(side: Int, Input)
        case save(side: Int)
        case restore(side: Int)
    }

    private var worlds: [World] = []
    private var parents: [(world: Int32, event: Event)?] = []
    private var seen: Set<World> = []
    private var sets: [[Int32]] = [[]]
    private var setNumbers: [[Int32]: Int32] = [[]: 0]
    private struct Joining: Hashable {
        let set: Int32
        let frame: Int32
    }
    private var joined: [Joining: Int32] = [:]
    private struct Two: Hashable {
        let sides: [Int32]
        let isRestored: Bool
    }
    private var checked: Set<Two> = []

    /// Goes through all states; `failure` says whether one was wrong.
    func run() throws {
        var world = World(
            sides: (0, 0), sent: 0, triggers: (UInt8(bound.triggers), UInt8(bound.triggers)),
            busy: UInt8(bound.busy), closes: UInt8(bound.closes))
        for number in 0..<2 {
            let keys = (0..<64).map { UInt8($0) }
            let root = [UInt8](repeating: 9, count: 32)
            let machine = try root.withUnsafeBytes { try Rekey(parties[number], root: $0) }
            let side = Side(number: number, bytes: try bytes(machine), keys: [keys])
            world[number] = self.number(side)
            world.sent = join(world.sent, try standing(side))
        }
        visit(world, nil)
        var place = 0
        while place < worlds.count, failure == nil {
            expand(Int32(place))
            place += 1
        }
        states = worlds.count
    }

    private func expand(_ place: Int32) {
        let world = worlds[Int(place)]
        for number in 0..<2 {
            let triggers = number == 0 ? world.triggers.0 : world.triggers.1
            if triggers > 0 {
                for input in [Input.plainTrigger, .freshTrigger] {
                    take(input, number, place) {
                        if number == 0 { $0.triggers.0 -= 1 } else { $0.triggers.1 -= 1 }
                    }
                }
            }
            if world.closes > 0 {
                take(.close, number, place) { $0.closes -= 1 }
            }
            for frame in sets[Int(world.sent)] where frames[Int(frame)].sender != number {
                take(.frame(frame, mayAnswer: true, isLate: false), number, place)
                if frames[Int(frame)].epoch < sides[Int(world[number])].epoch {
                    take(.frame(frame, mayAnswer: true, isLate: true), number, place)
                }
                let busy = Input.frame(frame, mayAnswer: false, isLate: false)
                if world.busy > 0 {
                    let step = step(world[number], busy)
                    if step.isBusy || step.failure != nil {
                        take(busy, number, place) { $0.busy -= 1 }
                    }
                }
            }
            if bound.restores, world.saved == -1 {
                var next = world
                next.saved = world[number]
                visit(next, (place, .save(side: number)))
            }
            if world.saved >= 0, sides[Int(world.saved)].number == number {
                var side = sides[Int(world.saved)]
                side.drawn = sides[Int(world[number])].drawn
                var next = world
                next[number] = self.number(side)
                next.saved = -2
                visit(next, (place, .restore(side: number)))
            }
        }
    }

    private func take(
        _ input: Input, _ number: Int, _ place: Int32, _ spend: (inout World) -> Void = { _ in }
    ) {
        guard failure == nil else { return }
        var world = worlds[Int(place)]
        let step = step(world[number], input)
        let event = Event.input(side: number, input)
        transitions += 1
        if let yielded = step.crossed { crossed[yielded] += 1 }
        if let wrong = step.failure { return fail(wrong, place, event) }
        if step.isReported {
            reported += 1
            if world.saved != -2 { fail("desynchronized, and nobody was put back", place, event) }
            return
        }
        let sent = join(join(world.sent, step.says), step.standing)
        guard step.to != world[number] || sent != world.sent else { return }
        world[number] = step.to
        world.sent = sent
        spend(&world)
        visit(world, (place, event))
    }

    private func visit(_ world: World, _ parent: (world: Int32, event: Event)?) {
        guard failure == nil, seen.insert(world).inserted else { return }
        let place = Int32(worlds.count)
        worlds.append(world)
        parents.append(parent)
        if world.saved == -2 { restored += 1 }
        for number in 0..<2 { newest = max(newest, sides[Int(world[number])].epoch) }
        let two = Two(sides: [world[0], world[1]], isRestored: world.saved == -2)
        guard checked.insert(two).inserted else { return }
        do {
            if !two.isRestored { try checkPair(two.sides) }
            let isOver = two.sides.contains { sides[Int($0)].isOver }
            for first in 0..<2 {
                for isLate in two.isRestored ? [false, true] : [false] {
                    for isQuiet in isOver ? [false] : [false, true] {
                        try heal(two, Weather(first: first, isQuiet: isQuiet, isLate: isLate))
                    }
                }
            }
        } catch { fail("\(error)", place, nil) }
    }

    /// Nobody was put back: whatever one side sends now, the other can read.
    private func checkPair(_ pair: [Int32]) throws {
        let (a, b) = (sides[Int(pair[0])], sides[Int(pair[1])])
        guard max(a.epoch, b.epoch) - min(a.epoch, b.epoch) <= 1 else {
            throw Wrong("epochs \(a.epoch) and \(b.epoch)")
        }
        guard zip(a.keys, b.keys).allSatisfy({ $0 == $1 }) else {
            throw Wrong("an epoch with two keys")
        }
        for (sender, reader) in [(a, b), (b, a)] where !reader.isOver {
            let key = sender.key(of: sender.number, sender.epoch)
            let frame = Frame(sender: sender.number, epoch: sender.epoch, key: key, parts: [])
            let machine = try machine(of: reader)
            guard Self.readingKey(of: machine, reader, frame, false) == key else {
                throw Wrong("epoch \(sender.epoch) of side \(sender.number) cannot be read")
            }
        }
    }

    /// How the network behaves from here on: everything arrives, in order.
    private struct Weather {
        /// Who speaks first.
        let first: Int
        /// Nobody has anything to say but for the round that is under way.
        let isQuiet: Bool
        /// Late messages find their keys.
        let isLate: Bool
    }

    /// Both sides say what they can, until both are idle in the same epoch. A pair of which one was put back may find
    /// that out instead, but only where nobody speaks may it find nothing.
    private func heal(_ two: Two, _ weather: Weather) throws {
        var pair = two.sides
        var arrived = 0
        for _ in 0..<8 {
            var queue: [Int32] = []
            for number in [weather.first, 1 - weather.first] {
                queue += try standing(sides[Int(pair[number])]).dropFirst(weather.isQuiet ? 1 : 0)
            }
            if queue.isEmpty, two.isRestored { return }
            var next = 0
            var farewells = 0
            while next < queue.count {
                let number = 1 - frames[Int(queue[next])].sender
                let step = step(
                    pair[number], .frame(queue[next], mayAnswer: true, isLate: weather.isLate))
                if let wrong = step.failure { throw Wrong(wrong) }
                arrived += 1
                if step.isReported {
                    guard two.isRestored else { throw Wrong("desynchronized while healing") }
                    longestSilence = max(longestSilence, arrived)
                    return
                }
                pair[number] = step.to
                // Who has closed says so to who has not, a few times, after ever longer waits.
                var says = step.says
                if sides[Int(step.to)].isOver, !sides[Int(pair[1 - number])].isOver {
                    says = step.standing
                }
                let side = sides[Int(step.to)]
                if try side.isOver || isClosed(machine(of: side)), !says.isEmpty { farewells += 1 }
                if farewells <= 6 { queue += says }
                next += 1
                guard next < 100 else { throw Wrong("they never stop talking") }
            }
            // Who was put back and closed then can be too far behind to be understood.
            if try isSettled(pair, weather) || (two.isRestored && farewells > 0) {
                longestHealing = max(longestHealing, arrived)
                return
            }
        }
        throw Wrong(
            "does not heal\(weather.isQuiet ? " quietly" : ""): "
                + "\(try pair.map { try describe(sides[Int($0)]) })")
    }

    /// And what was for the epoch before is gone, once both were heard in this one.
    private func isSettled(_ pair: [Int32], _ weather: Weather) throws -> Bool {
        let (a, b) = (sides[Int(pair[0])], sides[Int(pair[1])])
        if a.isOver || b.isOver {
            return try [a, b].allSatisfy { try $0.isOver || isClosed(machine(of: $0)) }
        }
        for side in [a, b] {
            let machine = try machine(of: side)
            guard case .idle = machine.phase, machine.wanted <= machine.epoch,
                weather.isQuiet || !machine.hasPrevious
            else { return false }
        }
        return a.keys.count == b.keys.count && a.keys.last == b.keys.last
    }

    // MARK: Numbers and bytes

    private struct Wrong: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    private func number(_ side: Side) -> Int32 {
        if let known = sideNumbers[side] { return known }
        sides.append(side)
        sideNumbers[side] = Int32(sides.count - 1)
        return Int32(sides.count - 1)
    }

    private func send(_ side: Side, _ parts: [UInt8]) -> Int32 {
        let frame = Frame(
            sender: side.number, epoch: side.epoch, key: side.key(of: side.number, side.epoch),
            parts: parts)
        if let known = frameNumbers[frame] { return known }
        frames.append(frame)
        frameNumbers[frame] = Int32(frames.count - 1)
        return Int32(frames.count - 1)
    }

    private func join(_ set: Int32, _ frames: [Int32]) -> Int32 {
        var set = set
        for frame in frames {
            let joining = Joining(set: set, frame: frame)
            if let known = joined[joining] {
                set = known
                continue
            }
            var all = sets[Int(set)]
            if !all.contains(frame) {
                all.append(frame)
                all.sort()
            }
            if setNumbers[all] == nil {
                sets.append(all)
                setNumbers[all] = Int32(sets.count - 1)
            }
            set = setNumbers[all] ?? 0
            joined[joining] = set
        }
        return set
    }

    private func machine(of side: Side) throws -> Rekey {
        guard !side.isOver else {
            // Never asked: whoever has closed only says so.
            return try Array(side.keys[0][..<32]).withUnsafeBytes {
                try Rekey(parties[side.number], root: $0)
            }
        }
        return try RekeyBytes.machine(side.bytes, parties[side.number])
    }

    private func isOffered(_ machine: Rekey) -> Bool {
        if case .offered = machine.phase { return true }
        return false
    }

    private func isClosed(_ machine: Rekey) -> Bool {
        if case .closed = machine.phase { return true }
        return false
    }

    private func bytes(_ machine: Rekey) throws -> [UInt8] {
        var bytes = try RekeyBytes.encode(machine)
        for place in 12..<16 { bytes[place] = 0 }
        return bytes
    }

    private func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { bytes in
            part.withUnsafeBytes { part in
                let first = part.loadUnaligned(as: UInt64.self)
                var place = 0
                while place + part.count <= bytes.count {
                    if bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self) == first,
                        Bytes(rebasing: bytes[place..<place + part.count]).sameBytes(as: part)
                    {
                        return true
                    }
                    place += 1
                }
                return false
            }
        }
    }

    // MARK: Words

    private func fail(_ wrong: String, _ place: Int32, _ event: Event?) {
        guard failure == nil else { return }
        var way: [String] = event.map { [describe($0)] } ?? []
        var at = place
        while let parent = parents[Int(at)] {
            way.append(describe(parent.event))
            at = parent.world
        }
        failure = ([wrong] + way.reversed()).joined(separator: "\n  ")
    }

    private func describe(_ event: Event) -> String {
        switch event {
        case .save(let side): "side \(side) is copied"
        case .restore(let side): "side \(side) is put back"
        case .input(let side, .plainTrigger): "side \(side) triggers"
        case .input(let side, .freshTrigger): "side \(side) triggers a fresh round"
        case .input(let side, .close): "side \(side) closes"
        case .input(let side, .frame(let number, let mayAnswer, let isLate)):
            "side \(side) receives \(describe(frames[Int(number)]))\(mayAnswer ? "" : ", busy")"
                + (isLate ? ", late" : "")
        }
    }

    private func describe(_ frame: Frame) -> String {
        let parts = frame.parts.withUnsafeBytes { (try? RekeyBytes.parse($0)) ?? [] }
        let words = parts.map { part in
            switch part {
            case .offer(let offer): "offer of \(offer.target)"
            case .answer(let answer): "answer of \(answer.target)"
            case .finish(let finish): "finish of \(finish.target)"
            case .busy: "busy"
            case .close: "close"
            }
        }
        return "[\(words.joined(separator: ", "))] of epoch \(frame.epoch)"
    }

    private func describe(_ side: Side) throws -> String {
        if side.isOver { return "over at \(side.epoch)" }
        let machine = try machine(of: side)
        let phase =
            switch machine.phase {
            case .idle: "idle"
            case .offered: "offered"
            case .answered: "answered"
            case .closed: "closed"
            }
        return "\(phase) at \(side.epoch)"
    }
}

/// Machines and parts as bytes.
enum RekeyBytes {
    static func machine(_ bytes: [UInt8], _ parties: Round.Parties) throws -> Rekey {
        try bytes.withUnsafeBytes {
            var reader = ByteReader($0)
            let machine = try Rekey(&reader, parties)
            try reader.finish()
            return machine
        }
    }

    static func encode(_ parts: [Part]) throws -> [UInt8] {
        let buffer = try SecretBuffer(count: parts.reduce(0) { $0 + $1.size })
        var writer = ByteWriter(buffer.mutableBytes)
        for part in parts { part.write(to: &writer) }
        try writer.finish()
        return withExtendedLifetime(buffer) { Array(buffer.bytes) }
    }

    /// The parts borrow from `bytes`.
    static func parse(_ bytes: Bytes) throws -> [Part] {
        var reader = ByteReader(bytes)
        var parts: [Part] = []
        while !reader.isAtEnd {
            let type = try reader.integer(UInt8.self)
            if let part = try Part(type, try reader.field(UInt16.self)) { parts.append(part) }
        }
        return parts
    }

    static func encode(_ machine: Rekey) throws -> [UInt8] {
        let buffer = try SecretBuffer(count: machine.size)
        var writer = ByteWriter(buffer.mutableBytes)
        machine.write(to: &writer)
        try writer.finish()
        return withExtendedLifetime(buffer) { Array(buffer.bytes) }
    }
}

/// X25519 in which draw number n of a side is always the same. What libsodium computed is remembered.
final class NumberedExchange: Exchange {
    private let seed: UInt8
    private var side = 0
    private(set) var drawn: UInt8 = 0
    /// Throws instead of doing anything.
    var failure: Failure?
    private var known: [[UInt8]: [UInt8]] = [:]

    init(seed: UInt8) { self.seed = seed }

    func begin(_ side: Int, _ drawn: UInt8) {
        self.side = side
        self.drawn = drawn
    }

    func draw(_ suite: Suite) throws(Failure) -> SecretBuffer {
        if let failure { throw failure }
        let secret = try secret(side, drawn)
        drawn += 1
        return try buffer(secret + publicKey(secret))
    }

    func encapsulate(_ suite: Suite, to key: Bytes) throws(Failure) -> SecretBuffer {
        if let failure { throw failure }
        guard key.count == Agreement.keySize else { throw .auth }
        let secret = try secret(side, drawn)
        drawn += 1
        let own = try publicKey(secret)
        let other = Array(key)
        let shared = try remember([1] + secret + other) { (out) throws(Failure) in
            let agreed = try self.agree(secret, other)
            let (owner, offered) = (try self.buffer(own), try self.buffer(other))
            try KeyedHash.derive(
                into: out, key: agreed.bytes, label: "pawl/1 x25519", owner.bytes, offered.bytes)
            withExtendedLifetime((agreed, owner, offered)) {}
        }
        return try buffer(own + shared)
    }

    func decapsulate(
        _ suite: Suite, _ ciphertext: Bytes, pair: Bytes
    ) throws(Failure) -> SecretBuffer {
        if let failure { throw failure }
        let shared = try remember([2] + Array(pair) + Array(ciphertext)) { (out) throws(Failure) in
            let shared = try KeyExchange.decapsulate(suite, ciphertext, pair: pair)
            out.copyMemory(from: shared.bytes)
            withExtendedLifetime(shared) {}
        }
        return try buffer(shared)
    }

    func secret(_ side: Int, _ number: UInt8) throws(Failure) -> [UInt8] {
        let name: [UInt8] = [0, seed, UInt8(side), number]
        return try remember(name) { (out) throws(Failure) in
            let name = try self.buffer(name)
            try KeyedHash.derive(into: out, key: .empty, label: "exploration", name.bytes)
            withExtendedLifetime(name) {}
        }
    }

    private func publicKey(_ secret: [UInt8]) throws(Failure) -> [UInt8] {
        try remember([3] + secret) { (out) throws(Failure) in
            let key = try self.agree(secret, [9] + [UInt8](repeating: 0, count: 31))
            out.copyMemory(from: key.bytes)
            withExtendedLifetime(key) {}
        }
    }

    private func agree(_ secret: [UInt8], _ other: [UInt8]) throws(Failure) -> SecretBuffer {
        let (secret, other) = (try buffer(secret), try buffer(other))
        let out = try SecretBuffer(count: Agreement.keySize)
        try Agreement.agree(secret: secret.bytes, public: other.bytes, into: out.mutableBytes)
        withExtendedLifetime((secret, other)) {}
        return out
    }

    /// 32 bytes by what they are made of.
    private func remember(
        _ name: [UInt8], _ make: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) -> [UInt8] {
        if let known = known[name] { return known }
        let out = try SecretBuffer(count: 32)
        try make(out.mutableBytes)
        let bytes = withExtendedLifetime(out) { Array(out.bytes) }
        known[name] = bytes
        return bytes
    }

    private func buffer(_ bytes: [UInt8]) throws(Failure) -> SecretBuffer {
        let buffer = try SecretBuffer(count: bytes.count)
        buffer.mutableBytes.copyBytes(from: bytes)
        return buffer
    }
}

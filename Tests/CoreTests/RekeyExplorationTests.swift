import Foundation
import PawlCore
import PawlCrypto
import Testing

/// Rekeying as a whole: all states of two sides. PAWL_LONG: more of them.
@Suite struct RekeyExplorationTests {
    @Test func everyStateHeals() throws {
        let isLong = ProcessInfo.processInfo.environment["PAWL_LONG"] != nil
        var (states, transitions, restored, healing, silence) = (0, 0, 0, 0, 0)
        var crossed = [0, 0]
        var events: Set<Rekey.Step.Event> = []
        for bound in isLong ? RekeyExploration.long : RekeyExploration.short {
            let exploration = try RekeyExploration(bound)
            try exploration.run()
            #expect(exploration.failure == nil)
            states += exploration.states
            transitions += exploration.transitions
            restored += exploration.restored
            for side in 0..<2 { crossed[side] += exploration.crossed[side] }
            healing = max(healing, exploration.longestHealing)
            silence = max(silence, exploration.longestSilence)
            events.formUnion(exploration.events)
        }
        print(
            "rekeying: \(states) states, \(transitions) transitions,",
            "\(crossed[0]) + \(crossed[1]) crossed rounds, \(restored) restored states,",
            "healed after at most \(healing) frames, reported after \(silence)")
        #expect(states >= (isLong ? 1_000_000 : 60_000))
        // Nothing of it is empty.
        #expect(crossed.allSatisfy { $0 > 0 } && restored > 0 && silence > 0)
        #expect(Set(events.map(\.rawValue)) == Set(1...11))
        #expect(healing <= 16 && silence <= 4)
    }
}

/// Each phase with each input; and what it is stored as.
@Suite struct RekeyTableTests {
    /// A line for each input, a column for each phase at epoch 1: `.` nothing; `D` desynchronized, `A` auth, `S` state;
    /// or the epoch that is committed, the phase entered (idle, offered, answered, x: closed), and what is said (Phase,
    /// Finish, Busy, Nudge, Closed) or waited for (a pause; w2: epoch 2).
    @Test func everyPhaseTakesEveryInput() throws {
        let table = try Table()
        var lines = [row("", table.phases.map(\.name))]
        for input in table.inputs {
            lines.append(row(input.name, try table.phases.map { try table.outcome($0, input) }))
        }
        #expect(lines == Self.outcomes.split(separator: "\n").map(String.init))
    }

    private func row(_ name: String, _ cells: [String]) -> String {
        var line = name
        for (number, cell) in cells.enumerated() {
            line += String(repeating: " ", count: max(1, 36 + 10 * number - line.count)) + cell
        }
        return line
    }

    static let outcomes = """
                                            idle      finished  offered   answered  closed
        trigger                             oP        oP        .         .         S
        trigger waited                      ow2P      ow2P      w2        w2        S
        trigger fresh                       ow2P      ow2P      w3        w3        S
        trigger fresh waited                ow2P      ow2P      w3        w3        S
        retry                               .         .         P         P         .
        nothing under 0                     .         .         .         .         C
        own offer of 1 under 0              N         N         N         N         C
        low offer of 2 under 0              .         .         .         .         C
        high offer of 2 under 0             .         .         .         .         C
        offer of 3 under 0                  .         .         .         .         C
        offer of another suite under 0      .         .         .         .         C
        offer of no key under 0             .         .         .         .         C
        answer of 1 under 0                 N         F         F         F         C
        other answer of 1 under 0           N         D         D         D         C
        unknown answer of 1 under 0         N         N         N         N         C
        answer of 2 under 0                 .         .         .         .         C
        other answer of 2 under 0           .         .         .         .         C
        unknown answer of 2 under 0         .         .         .         .         C
        finish of 1 under 0                 .         .         .         .         C
        finish of 2 under 0                 .         .         .         .         C
        other finish of 2 under 0           .         .         .         .         C
        unknown finish of 2 under 0         .         .         .         .         C
        busy under 0                        .         .         .         .         C
        unknown busy under 0                .         .         .         .         C
        close under 0                       x         x         x         x         .
        offer, then unknown answer under 0  .         .         .         .         C
        nothing under 1                     .         .         .         .         C
        own offer of 1 under 1              N         N         N         N         C
        low offer of 2 under 1              aP        aP        aP        P         C
        high offer of 2 under 1             aP        aP        .         D         C
        offer of 3 under 1                  .         .         .         .         C
        offer of another suite under 1      D         D         D         D         C
        offer of no key under 1             A         A         A         D         C
        answer of 1 under 1                 N         F         F         F         C
        other answer of 1 under 1           N         D         D         D         C
        unknown answer of 1 under 1         N         N         N         N         C
        answer of 2 under 1                 D         D         2iF       D         C
        other answer of 2 under 1           D         D         D         D         C
        unknown answer of 2 under 1         D         D         D         D         C
        finish of 1 under 1                 .         .         .         .         C
        finish of 2 under 1                 .         .         .         .         C
        other finish of 2 under 1           .         .         .         .         C
        unknown finish of 2 under 1         .         .         .         .         C
        busy under 1                        .         .         p         .         C
        unknown busy under 1                .         .         .         .         C
        close under 1                       x         x         x         x         .
        offer, then unknown answer under 1  D         D         D         D         C
        nothing under 2                     D         D         D         2i        D
        own offer of 1 under 2              D         D         D         2iN       D
        low offer of 2 under 2              D         D         D         2iN       D
        high offer of 2 under 2             D         D         D         2iN       D
        offer of 3 under 2                  D         D         D         2P        D
        offer of another suite under 2      D         D         D         2iN       D
        offer of no key under 2             D         D         D         2iN       D
        answer of 1 under 2                 D         D         D         2iN       D
        other answer of 1 under 2           D         D         D         2iN       D
        unknown answer of 1 under 2         D         D         D         2iN       D
        answer of 2 under 2                 D         D         D         2iN       D
        other answer of 2 under 2           D         D         D         2iN       D
        unknown answer of 2 under 2         D         D         D         2iN       D
        finish of 1 under 2                 D         D         D         2i        D
        finish of 2 under 2                 D         D         D         2i        D
        other finish of 2 under 2           D         D         D         D         D
        unknown finish of 2 under 2         D         D         D         2i        D
        busy under 2                        D         D         D         2i        D
        unknown busy under 2                D         D         D         2i        D
        close under 2                       D         D         D         2x        D
        offer, then unknown answer under 2  D         D         D         2iN       D
        low offer, busy                     B         B         aP        P         C
        high offer, busy                    B         B         .         D         C
        """

    /// What is not computed or drawn leaves no trace.
    @Test func aFailureOfTheExchangeChangesNothing() throws {
        let table = try Table()
        var failed = 0
        for phase in table.phases {
            for input in table.inputs {
                let outcome = try table.outcome(phase, input)
                table.exchange.failure = .limit(.memory)
                defer { table.exchange.failure = nil }
                let without = try table.outcome(phase, input)
                if without == "L" { failed += 1 } else { #expect(without == outcome) }
            }
        }
        #expect(failed > 5)
    }

    /// No bytes trap, neither when they are read nor when what they say is asked for more.
    @Test func damagedBytesAreRefusedOrRead() throws {
        let table = try Table()
        var (refused, read, changed) = (0, 0, 0)
        for phase in table.phases {
            for place in phase.bytes.indices {
                #expect(throws: Failure.corrupt(.record)) {
                    try table.read(Array(phase.bytes[..<place]))
                }
                let byte = phase.bytes[place]
                for other in Set([byte ^ 1, byte ^ 0x80, byte ^ 0xFF, byte &- 1, 0]) {
                    var bytes = phase.bytes
                    bytes[place] = other
                    do {
                        let machine = try table.read(bytes)
                        read += 1
                        let again = Table.Phase(
                            name: phase.name, bytes: try RekeyBytes.encode(machine))
                        _ = try? machine.parts([.phase, .finish], refused: nil, pause: 0)
                        for input in table.inputs {
                            if try table.outcome(again, input) == "changed" { changed += 1 }
                        }
                    } catch Failure.corrupt(.record) { refused += 1 }
                }
            }
        }
        #expect(refused > 10 && read > 1_000 && changed == 0)
    }

    /// At the last epoch there is no next one.
    @Test func theLastEpochStays() throws {
        let table = try Table()
        for phase in table.phases where phase.name != "closed" {
            let bytes = [UInt8](repeating: 0xFF, count: 4) + phase.bytes.dropFirst(4)
            for input in table.inputs where input.name.hasPrefix("trigger") {
                let last = Table.Phase(name: phase.name, bytes: bytes)
                #expect(try table.outcome(last, input) == "L")
            }
        }
    }

    @Test func theHostIsToldOnce() throws {
        let table = try Table()
        let offered = try #require(table.phases.first { $0.name == "offered" })
        var machine = try RekeyBytes.machine(offered.bytes, table.parties)
        let stalls = (1...20).filter { _ in machine.retry().isStalled }
        #expect(stalls == [Int(Rekey.stallLimit)])
    }
}

/// One side in each phase at epoch 1, where its peer is too, and all that it can be given.
final class Table {
    struct Phase {
        let name: String
        let bytes: [UInt8]
    }
    enum Kind {
        case trigger(isFresh: Bool, isWaited: Bool)
        case retry
        case receive([UInt8], under: UInt32, mayAnswer: Bool)
    }
    struct Input {
        let name: String
        let kind: Kind
    }

    let exchange = NumberedExchange(seed: 0)
    let parties: Round.Parties
    private(set) var phases: [Phase] = []
    private(set) var inputs: [Input] = []
    private let peers: Round.Parties

    init() throws {
        let session = try [UInt8](repeating: 7, count: Identifier.size)
            .withUnsafeBytes { try Identifier($0) }
        parties = Round.Parties(session: session, side: .initiator, suite: .x25519)
        peers = Round.Parties(session: session, side: .responder, suite: .x25519)
        let root = [UInt8](repeating: 9, count: 32)
        func start(_ parties: Round.Parties) throws -> Rekey {
            try root.withUnsafeBytes { try Rekey(parties, root: $0) }
        }

        // The peer's round: this side has answered.
        var (own, peer) = (try start(parties), try start(peers))
        var parts = try trigger(&peer, 1, 0)
        parts = try say(&own, 0, 0, parts, under: 0)
        parts = try say(&peer, 1, 1, parts, under: 0)
        parts = try say(&own, 0, 1, parts, under: 1)
        phases.append(Phase(name: "idle", bytes: try RekeyBytes.encode(own)))

        // This side's round.
        (own, peer) = (try start(parties), try start(peers))
        let firstOffer = try trigger(&own, 0, 0)
        let firstAnswer = try say(&peer, 1, 0, firstOffer, under: 0)
        let firstFinish = try say(&own, 0, 1, firstAnswer, under: 0)
        _ = try say(&peer, 1, 1, firstFinish, under: 1)
        _ = try say(&own, 0, 1, [], under: 1)
        phases.append(Phase(name: "finished", bytes: try RekeyBytes.encode(own)))

        var offered = own
        let ownOffer = try trigger(&offered, 0, 1)
        phases.append(Phase(name: "offered", bytes: try RekeyBytes.encode(offered)))
        let ownID = try #require(offered.pending).offer

        // Offers of the peer on either side of that.
        var lower: (Rekey, [UInt8])?
        var higher: (Rekey, [UInt8])?
        for number in 1..<UInt8(50) {
            var copy = peer
            let offer = try trigger(&copy, 1, number)
            if try #require(copy.pending).offer < ownID {
                lower = lower ?? (copy, offer)
            } else {
                higher = higher ?? (copy, offer)
            }
        }
        let (leader, low) = try #require(lower)
        let (_, high) = try #require(higher)

        var answered = own
        let ownAnswer = try say(&answered, 0, 1, low, under: 1)
        phases.append(Phase(name: "answered", bytes: try RekeyBytes.encode(answered)))
        var closed = answered
        _ = try say(&closed, 0, 2, RekeyBytes.encode([.close]), under: 1)
        phases.append(Phase(name: "closed", bytes: try RekeyBytes.encode(closed)))

        var committed = leader
        let finish = try say(&committed, 1, 60, ownAnswer, under: 1)
        var answering = peer
        let answer = try say(&answering, 1, 1, ownOffer, under: 1)
        let thirdOffer = try trigger(&committed, 1, 61)
        // Of the first round, as this side's peer would repeat it, with another end, and for no offer of this side's.
        let (confirmation, name) = (4 + Identifier.size, 4)

        for isFresh in [false, true] {
            for isWaited in [false, true] {
                let name = "trigger\(isFresh ? " fresh" : "")\(isWaited ? " waited" : "")"
                inputs.append(
                    Input(name: name, kind: .trigger(isFresh: isFresh, isWaited: isWaited)))
            }
        }
        inputs.append(Input(name: "retry", kind: .retry))
        for epoch in UInt32(0)...2 {
            for (name, parts) in [
                ("nothing", []),
                ("own offer of 1", firstOffer), ("low offer of 2", low), ("high offer of 2", high),
                ("offer of 3", thirdOffer), ("offer of another suite", flip(high, 4)),
                ("offer of no key", high.dropLast(32) + [UInt8](repeating: 0, count: 32)),
                ("answer of 1", firstAnswer),
                ("other answer of 1", flip(firstAnswer, confirmation)),
                ("unknown answer of 1", flip(firstAnswer, name)),
                ("answer of 2", answer), ("other answer of 2", flip(answer, confirmation)),
                ("unknown answer of 2", flip(answer, name)),
                ("finish of 1", firstFinish), ("finish of 2", finish),
                ("other finish of 2", flip(finish, confirmation)),
                ("unknown finish of 2", flip(finish, name)),
                ("busy", try RekeyBytes.encode([.busy(offer: ownID, milliseconds: 5)])),
                ("unknown busy", try RekeyBytes.encode([.busy(offer: .none, milliseconds: 5)])),
                ("close", try RekeyBytes.encode([.close])),
                ("offer, then unknown answer", high + flip(answer, name)),
            ] as [(String, [UInt8])] {
                inputs.append(
                    Input(
                        name: "\(name) under \(epoch)",
                        kind: .receive(parts, under: epoch, mayAnswer: true)))
            }
        }
        for (name, offer) in [("low offer, busy", low), ("high offer, busy", high)] {
            inputs.append(
                Input(name: name, kind: .receive(offer, under: 1, mayAnswer: false)))
        }
    }

    /// As it stands at the front of a longer record.
    @discardableResult
    func read(_ bytes: [UInt8]) throws -> Rekey {
        try bytes.withUnsafeBytes {
            var reader = ByteReader($0)
            return try Rekey(&reader, parties)
        }
    }

    /// What the input does. Whatever throws leaves the bytes as they were.
    func outcome(_ phase: Phase, _ input: Input) throws -> String {
        var machine = try RekeyBytes.machine(phase.bytes, parties)
        let (epoch, wanted) = (machine.epoch, machine.wanted)
        let letter = letter(machine)
        exchange.begin(0, 100)
        do {
            let outcome: Rekey.Outcome
            switch input.kind {
            case .trigger(let isFresh, let isWaited):
                (_, outcome) = try machine.trigger(
                    isFresh: isFresh, isWaited: isWaited, exchange)
            case .retry: outcome = machine.retry()
            case .receive(let parts, let epoch, let mayAnswer):
                outcome = try parts.withUnsafeBytes {
                    try machine.receive(
                        RekeyBytes.parse($0), under: epoch, mayAnswer: mayAnswer, exchange)
                }
            }
            var words = machine.epoch == epoch ? "" : "\(machine.epoch)"
            if self.letter(machine) != letter { words += self.letter(machine) }
            if machine.wanted != wanted { words += "w\(machine.wanted)" }
            for (says, word) in [
                (Rekey.Says.phase, "P"), (.finish, "F"), (.busy, "B"), (.nudge, "N"),
                (.closed, "C"),
            ] where outcome.says.contains(says) { words += word }
            if outcome.pause != nil { words += "p" }
            let kinds = Set(outcome.steps.map(\.event))
            guard (outcome.committed != nil) == kinds.contains(.committed),
                outcome.hasAnswered != kinds.isDisjoint(with: [.answered, .crossedYields]),
                outcome.isClosed == kinds.contains(.closed),
                (outcome.refused != nil) == outcome.says.contains(.busy)
            else { return "odd" }
            return words.isEmpty ? "." : words
        } catch let failure as Failure {
            guard try RekeyBytes.encode(machine) == phase.bytes else { return "changed" }
            return "\(failure)".prefix(1).uppercased()
        }
    }

    private func letter(_ machine: Rekey) -> String {
        switch machine.phase {
        case .idle: "i"
        case .offered: "o"
        case .answered: "a"
        case .closed: "x"
        }
    }

    private func trigger(_ machine: inout Rekey, _ side: Int, _ drawn: UInt8) throws -> [UInt8] {
        exchange.begin(side, drawn)
        let (_, outcome) = try machine.trigger(isFresh: false, isWaited: false, exchange)
        return try said(machine, outcome)
    }

    /// Gives a machine parts, and answers what it says.
    private func say(
        _ machine: inout Rekey, _ side: Int, _ drawn: UInt8, _ parts: [UInt8], under epoch: UInt32
    ) throws -> [UInt8] {
        exchange.begin(side, drawn)
        let outcome = try parts.withUnsafeBytes {
            try machine.receive(RekeyBytes.parse($0), under: epoch, mayAnswer: true, exchange)
        }
        return try said(machine, outcome)
    }

    private func said(_ machine: Rekey, _ outcome: Rekey.Outcome) throws -> [UInt8] {
        try withExtendedLifetime(machine) {
            try RekeyBytes.encode(machine.parts(outcome.says, refused: nil, pause: 0))
        }
    }

    /// A byte of the first part's body is another.
    private func flip(_ parts: [UInt8], _ place: Int) -> [UInt8] {
        var parts = parts
        parts[Part.headerSize + place] ^= 1
        return parts
    }
}

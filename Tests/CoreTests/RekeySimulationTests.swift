import Foundation
import Testing

/// PAWL_SEED replays one run (with SWIFT_DETERMINISTIC_HASHING=1, to the byte); PAWL_LONG: many more of them.
@Suite struct RekeySimulationTests {
    @Test func everySeedHeals() throws {
        RekeySimulation.prepare()
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["PAWL_SEED"].flatMap({ UInt64($0) }) {
            let (_, failure, log) = run(seed, isLogged: true)
            for line in log { print(line) }
            if let failure { Issue.record("seed \(seed): \(failure)") }
            return
        }
        let isLong = environment["PAWL_LONG"] != nil
        let count = isLong ? 10_000 : 100
        let all = Gathered()
        DispatchQueue.concurrentPerform(iterations: count) { number in
            let seed = UInt64(number) + 1
            let (tally, failure, _) = run(seed, isLogged: false)
            all.add(tally, failure.map { "PAWL_SEED=\(seed): \($0)" })
        }
        for failure in all.failures.prefix(20) { Issue.record("\(failure)") }
        print("simulation: \(count) seeds, \(all.failures.count) failures")
        for (name, count) in all.tally.counts.sorted(by: { $0.key < $1.key }) {
            print("simulation: \(count) × \(name)")
        }
        let rarely = isLong ? RekeySimulation.Tally.rarely : []
        for name in RekeySimulation.Tally.sometimes + rarely {
            #expect(all.tally.counts[name] ?? 0 > 0, "\(name): never")
        }
    }

    private func run(
        _ seed: UInt64, isLogged: Bool
    ) -> (RekeySimulation.Tally, failure: String?, log: [String]) {
        SeededSodium.run(seed) {
            var simulation: RekeySimulation?
            do {
                let made = try RekeySimulation(seed: seed, isLogged: isLogged)
                simulation = made
                try made.run()
                return (made.tally, nil, made.log)
            } catch {
                return (simulation?.tally ?? .init(), "\(error)", simulation?.log ?? [])
            }
        }
    }

    private final class Gathered: @unchecked Sendable {
        private let lock = NSLock()
        private(set) var tally = RekeySimulation.Tally()
        private(set) var failures: [String] = []

        func add(_ more: RekeySimulation.Tally, _ failure: String?) {
            lock.withLock {
                tally.add(more)
                if let failure { failures.append(failure) }
            }
        }
    }
}

import Foundation
import Testing

/// A backup as a whole: all states of it. PAWL_LONG: more of them.
@Suite struct BackupExplorationTests {
    @Test func everyEventIsTrue() throws {
        let isLong = ProcessInfo.processInfo.environment["PAWL_LONG"] != nil
        var (states, transitions, activations, deletions, overtaken, healing) = (0, 0, 0, 0, 0, 0)
        for bound in isLong ? BackupExploration.long : BackupExploration.short {
            let exploration = BackupExploration(bound)
            try exploration.run()
            #expect(exploration.failure == nil)
            states += exploration.states
            transitions += exploration.transitions
            activations += exploration.activations
            deletions += exploration.deletions
            overtaken += exploration.overtaken
            healing = max(healing, exploration.longestHealing)
        }
        print(
            "backup: \(states) states, \(transitions) transitions, \(activations) activations,",
            "\(deletions) deletions, \(overtaken) answers overtaken, at rest after at most \(healing)"
        )
        let walk = BackupExploration(BackupExploration.all)
        try walk.walk(isLong ? 20_000 : 500)
        #expect(walk.failure == nil)
        print("backup: \(walk.states) states on walks, \(walk.activations) activations")
        #expect(states >= (isLong ? 500_000 : 40_000))
        #expect(activations > 0 && deletions > 0 && overtaken > 0 && healing < 60)
    }
}

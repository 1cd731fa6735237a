import PawlCore
import PawlCrypto
import Testing

/// Every state × every input of the machine. What is not in the table is refused and leaves it equal.
@Suite struct VaultWriteTests {
    private enum Input: CaseIterable {
        case setOK, setFailed, flipped, flippedOverOld, flipRefused, removeOK, removeFailed
    }

    private static let refusal = Failure.state(.withdrawn)

    private static func apply(_ input: Input, to write: inout VaultWrite) throws
        -> VaultWrite.Action
    {
        switch input {
        case .setOK: try write.setAnswered(0)
        case .setFailed: try write.setAnswered(7)
        case .flipped: try write.flipAnswered(.flipped(replaced: false))
        case .flippedOverOld: try write.flipAnswered(.flipped(replaced: true))
        case .flipRefused: try write.flipAnswered(.refused(refusal))
        case .removeOK: try write.removeAnswered(0)
        case .removeFailed: try write.removeAnswered(9)
        }
    }

    /// A way to each state, and what each input answers there.
    private static let table: [(path: [Input], answers: [Input: VaultWrite.Action])] = [
        ([], [.setOK: .flip, .setFailed: .removeNew]),
        (
            [.setOK],
            [.flipped: .done, .flippedOverOld: .removeOld, .flipRefused: .removeNew]
        ),
        (
            [.setFailed],
            [
                .removeOK: .forgetIntent(.store(.vault, code: 7)),
                .removeFailed: .recordOrphan(
                    .store(.vault, code: 7), causeSet: 7, causeRemove: 9),
            ]
        ),
        (
            [.setOK, .flipRefused],
            [
                .removeOK: .forgetIntent(refusal),
                .removeFailed: .recordOrphan(refusal, causeSet: 0, causeRemove: 9),
            ]
        ),
        (
            [.setOK, .flippedOverOld],
            [.removeOK: .forgetOrphan, .removeFailed: .keepOrphan(causeRemove: 9)]
        ),
        ([.setOK, .flipped], [:]),
        ([.setOK, .flippedOverOld, .removeOK], [:]),
        ([.setFailed, .removeFailed], [:]),
    ]

    @Test func everyStateAndInput() throws {
        #expect(VaultWrite().first == .setNew)
        for (path, answers) in Self.table {
            for input in Input.allCases {
                var write = VaultWrite()
                for step in path { _ = try Self.apply(step, to: &write) }
                let before = write
                if let wanted = answers[input] {
                    #expect(try Self.apply(input, to: &write) == wanted, "\(path) \(input)")
                } else {
                    #expect(throws: Failure.internal) { try Self.apply(input, to: &write) }
                    #expect(write == before, "\(path) \(input)")
                }
            }
        }
    }
}

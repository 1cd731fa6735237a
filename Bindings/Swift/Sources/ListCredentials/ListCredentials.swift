import ArgumentParser
import Foundation
import Pawl

/// Lists the credentials of a scope: their names, versions and labels, never their secrets.
@main
struct ListCredentials: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-credentials",
        abstract: "List the credentials of a user's project, without their secrets.",
        discussion: "The store's passphrase is taken from the environment variable PAWL_PASSPHRASE."
    )

    @Argument(help: "The file of the store.")
    var store: String

    @Argument(help: "Whose credentials.")
    var user: String

    @Argument(help: "Of which project; empty for those of none.")
    var project: String

    func run() async throws {
        guard let passphrase = ProcessInfo.processInfo.environment["PAWL_PASSPHRASE"] else {
            throw ValidationError("Set PAWL_PASSPHRASE to the passphrase of the store.")
        }
        let store = try await Store.open(
            path: store, key: .passphrase(passphrase), options: Store.Options(creation: .never))
        let scope = Scope(user: user, project: project)
        do {
            for try await credential in store.credentials(in: scope) {
                print(credential.name, credential.version, credential.label, separator: "\t")
            }
        } catch {
            await store.close()
            throw error
        }
        await store.close()
    }
}

import CPawl
import Foundation
import PawlABI
import Testing

/// The header is the contract, and the exports are written by hand: this is where they meet.
@Suite struct HeaderAgreementTests {
    /// Compiles only if both types are the same, optionality and result included.
    private func same<T>(_ ours: T.Type, _ header: T.Type) {}

    @Test func everyExportHasTheTypeThatTheHeaderDeclares() {
        same(type(of: PawlABI.pawl_abi_version), type(of: CPawl.pawl_abi_version))
        same(type(of: PawlABI.pawl_status_name), type(of: CPawl.pawl_status_name))
        same(type(of: PawlABI.pawl_status_text), type(of: CPawl.pawl_status_text))
        same(type(of: PawlABI.pawl_view_count), type(of: CPawl.pawl_view_count))
        same(type(of: PawlABI.pawl_view_close), type(of: CPawl.pawl_view_close))
        same(type(of: PawlABI.pawl_store_open), type(of: CPawl.pawl_store_open))
        same(type(of: PawlABI.pawl_store_close), type(of: CPawl.pawl_store_close))
        same(type(of: PawlABI.pawl_store_copy), type(of: CPawl.pawl_store_copy))
        same(type(of: PawlABI.pawl_store_verify), type(of: CPawl.pawl_store_verify))
        same(type(of: PawlABI.pawl_view_damage), type(of: CPawl.pawl_view_damage))
        same(type(of: PawlABI.pawl_store_stats), type(of: CPawl.pawl_store_stats))
        same(type(of: PawlABI.pawl_slot_list), type(of: CPawl.pawl_slot_list))
        same(type(of: PawlABI.pawl_view_slot), type(of: CPawl.pawl_view_slot))
        same(type(of: PawlABI.pawl_slot_add), type(of: CPawl.pawl_slot_add))
        same(type(of: PawlABI.pawl_slot_change), type(of: CPawl.pawl_slot_change))
        same(type(of: PawlABI.pawl_slot_remove), type(of: CPawl.pawl_slot_remove))
        same(
            type(of: PawlABI.pawl_recovery_key_generate), type(of: CPawl.pawl_recovery_key_generate)
        )
        same(type(of: PawlABI.pawl_batch_begin), type(of: CPawl.pawl_batch_begin))
        same(type(of: PawlABI.pawl_batch_commit), type(of: CPawl.pawl_batch_commit))
        same(type(of: PawlABI.pawl_batch_rollback), type(of: CPawl.pawl_batch_rollback))
        same(type(of: PawlABI.pawl_credential_put), type(of: CPawl.pawl_credential_put))
        same(type(of: PawlABI.pawl_credential_get), type(of: CPawl.pawl_credential_get))
        same(type(of: PawlABI.pawl_credential_metadata), type(of: CPawl.pawl_credential_metadata))
        same(type(of: PawlABI.pawl_credential_has), type(of: CPawl.pawl_credential_has))
        same(type(of: PawlABI.pawl_credential_list), type(of: CPawl.pawl_credential_list))
        same(type(of: PawlABI.pawl_credential_deleted), type(of: CPawl.pawl_credential_deleted))
        same(type(of: PawlABI.pawl_view_credential), type(of: CPawl.pawl_view_credential))
        same(type(of: PawlABI.pawl_view_attribute), type(of: CPawl.pawl_view_attribute))
        same(type(of: PawlABI.pawl_credential_delete), type(of: CPawl.pawl_credential_delete))
        same(type(of: PawlABI.pawl_credential_restore), type(of: CPawl.pawl_credential_restore))
        same(
            type(of: PawlABI.pawl_credential_delete_all), type(of: CPawl.pawl_credential_delete_all)
        )
        same(type(of: PawlABI.pawl_credential_orphans), type(of: CPawl.pawl_credential_orphans))
        same(type(of: PawlABI.pawl_view_orphan), type(of: CPawl.pawl_view_orphan))
        same(type(of: PawlABI.pawl_credential_reconcile), type(of: CPawl.pawl_credential_reconcile))
        same(type(of: PawlABI.pawl_account_create), type(of: CPawl.pawl_account_create))
        same(type(of: PawlABI.pawl_account_get), type(of: CPawl.pawl_account_get))
        same(type(of: PawlABI.pawl_account_list), type(of: CPawl.pawl_account_list))
        same(type(of: PawlABI.pawl_account_delete), type(of: CPawl.pawl_account_delete))
        same(type(of: PawlABI.pawl_view_account), type(of: CPawl.pawl_view_account))
        same(type(of: PawlABI.pawl_safety_number), type(of: CPawl.pawl_safety_number))
        same(type(of: PawlABI.pawl_safety_code), type(of: CPawl.pawl_safety_code))
        same(type(of: PawlABI.pawl_store_fd), type(of: CPawl.pawl_store_fd))
        same(type(of: PawlABI.pawl_store_next_deadline), type(of: CPawl.pawl_store_next_deadline))
        same(type(of: PawlABI.pawl_store_run_due), type(of: CPawl.pawl_store_run_due))
        same(type(of: PawlABI.pawl_store_nudge), type(of: CPawl.pawl_store_nudge))
        same(type(of: PawlABI.pawl_store_start_runner), type(of: CPawl.pawl_store_start_runner))
        same(type(of: PawlABI.pawl_store_stop_runner), type(of: CPawl.pawl_store_stop_runner))
        same(type(of: PawlABI.pawl_store_jobs), type(of: CPawl.pawl_store_jobs))
        same(type(of: PawlABI.pawl_view_job), type(of: CPawl.pawl_view_job))
        same(type(of: PawlABI.pawl_job_revive), type(of: CPawl.pawl_job_revive))
        same(type(of: PawlABI.pawl_outbox_take), type(of: CPawl.pawl_outbox_take))
        same(type(of: PawlABI.pawl_view_item), type(of: CPawl.pawl_view_item))
        same(type(of: PawlABI.pawl_outbox_ack), type(of: CPawl.pawl_outbox_ack))
        same(type(of: PawlABI.pawl_outbox_fail), type(of: CPawl.pawl_outbox_fail))
        same(type(of: PawlABI.pawl_outbox_answer), type(of: CPawl.pawl_outbox_answer))
        same(type(of: PawlABI.pawl_package_create), type(of: CPawl.pawl_package_create))
        same(type(of: PawlABI.pawl_package_list), type(of: CPawl.pawl_package_list))
        same(type(of: PawlABI.pawl_package_delete), type(of: CPawl.pawl_package_delete))
        same(type(of: PawlABI.pawl_view_package), type(of: CPawl.pawl_view_package))
        same(type(of: PawlABI.pawl_view_item_package), type(of: CPawl.pawl_view_item_package))
        same(type(of: PawlABI.pawl_rotation_begin), type(of: CPawl.pawl_rotation_begin))
        same(type(of: PawlABI.pawl_rotation_now), type(of: CPawl.pawl_rotation_now))
        same(type(of: PawlABI.pawl_rotation_report), type(of: CPawl.pawl_rotation_report))
        same(type(of: PawlABI.pawl_rotation_get), type(of: CPawl.pawl_rotation_get))
        same(
            type(of: PawlABI.pawl_account_set_min_suite), type(of: CPawl.pawl_account_set_min_suite)
        )
        same(type(of: PawlABI.pawl_peer_get), type(of: CPawl.pawl_peer_get))
        same(type(of: PawlABI.pawl_peer_list), type(of: CPawl.pawl_peer_list))
        same(type(of: PawlABI.pawl_view_peer), type(of: CPawl.pawl_view_peer))
        same(type(of: PawlABI.pawl_peer_trust), type(of: CPawl.pawl_peer_trust))
        same(type(of: PawlABI.pawl_peer_allow_suite), type(of: CPawl.pawl_peer_allow_suite))
        same(type(of: PawlABI.pawl_session_start), type(of: CPawl.pawl_session_start))
        same(type(of: PawlABI.pawl_session_reset), type(of: CPawl.pawl_session_reset))
        same(type(of: PawlABI.pawl_session_close), type(of: CPawl.pawl_session_close))
        same(type(of: PawlABI.pawl_session_rekey), type(of: CPawl.pawl_session_rekey))
        same(type(of: PawlABI.pawl_session_wait), type(of: CPawl.pawl_session_wait))
        same(type(of: PawlABI.pawl_session_set_limits), type(of: CPawl.pawl_session_set_limits))
        same(type(of: PawlABI.pawl_store_trace), type(of: CPawl.pawl_store_trace))
        same(type(of: PawlABI.pawl_session_get), type(of: CPawl.pawl_session_get))
        same(type(of: PawlABI.pawl_session_list), type(of: CPawl.pawl_session_list))
        same(type(of: PawlABI.pawl_view_session), type(of: CPawl.pawl_view_session))
        same(type(of: PawlABI.pawl_session_encrypt), type(of: CPawl.pawl_session_encrypt))
        same(type(of: PawlABI.pawl_session_send), type(of: CPawl.pawl_session_send))
        same(type(of: PawlABI.pawl_account_receive), type(of: CPawl.pawl_account_receive))
        same(type(of: PawlABI.pawl_account_receive_many), type(of: CPawl.pawl_account_receive_many))
        same(type(of: PawlABI.pawl_session_kept), type(of: CPawl.pawl_session_kept))
        same(type(of: PawlABI.pawl_view_kept), type(of: CPawl.pawl_view_kept))
        same(type(of: PawlABI.pawl_session_forget), type(of: CPawl.pawl_session_forget))
    }

    /// The test above compares nothing that it does not mention.
    @Test func everyFunctionOfTheHeaderIsCompared() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
        let header = try String(
            contentsOf: folder.appending(path: "../../Include/pawl.h"), encoding: .utf8)
        let test = try String(contentsOf: URL(filePath: #filePath), encoding: .utf8)
        let declared = header.matches(of: /(?m)^[a-z][a-z0-9_ ]*[ *](pawl_[a-z_]+)\(/).map { $0.1 }
        let compared = test.matches(
            of: /same\(\s*type\(of: PawlABI\.([a-z_]+)\), type\(of: CPawl\.([a-z_]+)\)\s*\)/)
        #expect(compared.allSatisfy { $0.1 == $0.2 })
        #expect(Set(compared.map { $0.1 }) == Set(declared))
        #expect(declared.count > 30)
    }

    /// Sizes on 64-bit systems. Structs grow at the end alone, so a number here may only grow, and
    /// only together with PAWL_ABI_VERSION.
    @Test func structsHaveTheSizesThatProgramsWereCompiledWith() {
        func expect<T>(_: T.Type, _ size: Int, _ at: SourceLocation = #_sourceLocation) {
            #expect(MemoryLayout<T>.size == size, "\(T.self)", sourceLocation: at)
            #expect(MemoryLayout<T>.stride == size, "\(T.self)", sourceLocation: at)
            #expect(MemoryLayout<T>.alignment == 8, "\(T.self)", sourceLocation: at)
        }
        #expect(PAWL_ABI_VERSION == 1)
        expect(pawl_clock.self, 24)
        expect(pawl_storage.self, 72)
        expect(pawl_vault.self, 56)
        expect(pawl_key.self, 40)
        expect(pawl_store_options.self, 64)
        expect(pawl_damage.self, 24)
        expect(pawl_stats.self, 56)
        expect(pawl_slot.self, 32)
        expect(pawl_scope.self, 40)
        expect(pawl_attribute.self, 32)
        expect(pawl_put_options.self, 72)
        expect(pawl_credential.self, 120)
        expect(pawl_orphan.self, 120)
        expect(pawl_reconcile_options.self, 16)
        expect(pawl_identity.self, 88)
        expect(pawl_account.self, 112)
        expect(pawl_item.self, 176)
        expect(pawl_package.self, 80)
        expect(pawl_rotation_options.self, 64)
        expect(pawl_rotation.self, 32)
        expect(pawl_job.self, 48)
        expect(pawl_runner.self, 24)
    }
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * pawl.h - the C interface of Pawl, an embeddable key engine for end-to-end-encrypted software.
 *
 * This file is the contract, and the only home of C-level facts. Six rules hold for all of it.
 *
 * 1. API. Everything named pawl_* or PAWL_* here is the interface; nothing else is. Names and numbers
 *    are never reused. Every options struct starts with `struct_size`, which the caller sets to
 *    sizeof the struct (PAWL_INIT does); structs only ever grow at the end, and a tail that this
 *    library does not know must be zero. The same holds for structs that are filled in: set
 *    `struct_size` first.
 * 2. Threads. A `pawl_store` may be used from any number of threads at once, and one file by any number
 *    of processes. A batch is confined to one thread at a time. A `pawl_view` never changes and may be
 *    read from any thread until it is closed. After fork(), the child's inherited handles answer
 *    PAWL_CLOSED_FORKED to everything; closing them there only wipes and frees memory. Opening a file
 *    there answers the same if the parent had one open: SQLite's locks do not survive a fork. Fork
 *    before opening, or exec (in Python: spawn).
 * 3. Ownership. Inputs are read during the call and never kept, except callback tables: their functions
 *    and contexts must outlive the store. Pointers in a row belong to its view and end with
 *    pawl_view_close. NULL with size 0 is an empty input; NULL with another size is PAWL_MISUSE_NULL.
 * 4. Errors. Every call that can fail returns a `pawl_status`; 0 is PAWL_OK. The low 8 bits are the
 *    primary code, the next 8 a detail of it, the next 15 the number that the storage engine, the
 *    vault or the operating system gave. On any other status than PAWL_OK every record is as it was
 *    before and outputs are zeroed (after PAWL_BUFFER, `*out_len` is the size needed), with these
 *    exceptions: PAWL_STORE_INDETERMINATE (whether the commit happened is unknown: read again and
 *    compare versions), PAWL_STORE_VAULT (an unfinished write is recorded as an intent or an
 *    orphan, see pawl_credential_orphans), PAWL_DESYNCHRONIZED (the report is recorded), PAWL_STATE_IDENTITY (the keys
 *    that were seen are recorded, see pawl_peer), PAWL_NOT_FOUND, PAWL_REPLAY and PAWL_AUTH of a frame whose session or
 *    epoch is over (an answer to the peer may be in the outbox), PAWL_NOT_FOUND and PAWL_TIME over an expired credential
 *    (it is removed), and errors of pawl_store_run_due and pawl_backup_answer (what was done before stays done). Inside a
 *    batch each call is all or nothing by itself.
 * 5. Secrets. Only credential secrets, plaintexts of messages, keys of slots and recovery keys cross this interface as
 *    secrets. They never appear in an error. A view is wiped when it is closed; the caller wipes its own copies.
 * 6. Time. All times are int64 nanoseconds since 1970-01-01 UTC, durations int64 nanoseconds;
 *    PAWL_NEVER stands for "no such time". Time comes from the clock in the store's options, by
 *    default the system's; nothing else reads one.
 *
 * Codes that any call taking a store may return, not repeated below: PAWL_MISUSE (an argument breaks a
 * rule of this file), PAWL_LIMIT_MEMORY, PAWL_STORE (the storage engine failed), PAWL_BUSY (another
 * writer held the store for longer than the busy timeout, or the call came from inside one of the
 * store's own callbacks), PAWL_CLOSED, PAWL_CORRUPT (a record is damaged; the others stay readable)
 * and PAWL_VERSION (a record was written by a newer Pawl; it is left alone).
 *
 * Callbacks. Clock and storage callbacks run while the store is locked, but a batch and a copy have
 * transactions of their own beside the store's; vault callbacks run under no lock and in no transaction. So all
 * must be safe to call from several threads at once. All must return; none may call back into the same store (PAWL_BUSY), except
 * pawl_store_close, which then takes effect when the outer call returns.
 */
#ifndef PAWL_H
#define PAWL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- version */

/* The version of this header. It grows when something is added. Nothing is ever removed. */
#define PAWL_ABI_VERSION 1

/* The version of the loaded library; equal to or above the PAWL_ABI_VERSION a program was compiled with
 * means that everything it uses is there. Since ABI 1. */
uint32_t pawl_abi_version(void);

/* Zeroes a struct of this file and sets its struct_size: `pawl_scope scope = PAWL_INIT(pawl_scope);`.
 * In C++ write `pawl_scope scope{};` and set `struct_size` yourself. */
#define PAWL_INIT(type) { .struct_size = (uint32_t)sizeof(type) }

/* "No such time": a credential that does not expire. */
#define PAWL_NEVER INT64_MAX

/* ---------------------------------------------------------------- status */

/* Primary in bits 0-7, detail in bits 8-15, engine or callback number in bits 16-30. */
typedef int32_t pawl_status;

#define PAWL_STATUS_PRIMARY(status) ((status) & 0xFF)
#define PAWL_STATUS_REASON(status) ((status) & 0xFFFF)
#define PAWL_STATUS_CODE(status) (((status) >> 16) & 0x7FFF)

#define PAWL_OK 0
#define PAWL_MISUSE 1          /* an argument breaks a rule of this file */
#define PAWL_BUFFER 2          /* the output does not fit; *out_len says what would */
#define PAWL_NOT_FOUND 3       /* no such record (an expired one counts as absent) */
#define PAWL_EXISTS 4          /* there is one already */
#define PAWL_STATE 5           /* not in this state; the detail says which */
#define PAWL_TIME 6            /* a time lies on the wrong side of now */
#define PAWL_AUTH 7            /* wrong key; never says which part was wrong */
#define PAWL_REPLAY 8          /* this message was received before, or its session is closed */
#define PAWL_LIMIT 9           /* a documented limit is reached; the detail says which */
#define PAWL_VERSION 10        /* written by a newer Pawl; untouched */
#define PAWL_CORRUPT 11        /* a record is damaged or in the wrong place */
#define PAWL_STORE 12          /* the storage engine or the vault failed */
#define PAWL_BUSY 13           /* try again later */
#define PAWL_CLOSED 14         /* the store is closed */
#define PAWL_DESYNCHRONIZED 15 /* this state and the peer's have parted; reset the session */
#define PAWL_INTERNAL 16       /* a bug in Pawl: please report it */

/* Details. A status with a detail equals one of these in PAWL_STATUS_REASON. */
#define PAWL_MISUSE_NULL 0x0101      /* a required pointer is NULL, or NULL came with a size */
#define PAWL_MISUSE_SIZE 0x0201      /* a size or count is outside its documented range */
#define PAWL_MISUSE_STRUCT 0x0301    /* struct_size is unknown, or the unknown tail is not zero */
#define PAWL_MISUSE_FLAGS 0x0401     /* an unknown or contradictory flag, kind or mode */
#define PAWL_MISUSE_NAME 0x0501      /* a name must be 1-256 bytes of UTF-8 without NUL */
#define PAWL_MISUSE_USER 0x0601      /* a user must be 1-256 bytes of UTF-8 without NUL */
#define PAWL_MISUSE_PROJECT 0x0701   /* a project must be 0-256 bytes of UTF-8 without NUL */
#define PAWL_MISUSE_LABEL 0x0801     /* label, provider: 0-256 bytes of UTF-8 without NUL */
#define PAWL_MISUSE_ATTRIBUTE 0x0901 /* key 1-128, value 0-512 bytes of UTF-8 without NUL, keys distinct */
#define PAWL_MISUSE_PATH 0x0A01      /* a path must be 1-4096 bytes without NUL */
#define PAWL_MISUSE_KEY 0x0B01       /* raw key: 32 bytes; passphrase: 1-1024 bytes */
#define PAWL_MISUSE_HASHING 0x0C01   /* Argon2id parameters outside floor and ceiling, or memory that is not whole KiB */
#define PAWL_MISUSE_RECOVERY 0x0D01  /* a recovery key with a typing error */
#define PAWL_MISUSE_RECOVERY_PREFIX 0x0E01 /* a recovery key of another kind */
#define PAWL_MISUSE_ROW 0x0F01       /* no such row, or the view holds rows of another type */
#define PAWL_MISUSE_TIME 0x1001      /* a duration is negative, or outside its documented range */
#define PAWL_MISUSE_HANDLE 0x1101    /* a batch where a store is needed, or the reverse */
#define PAWL_MISUSE_ACCOUNT 0x1201   /* an account's name must be 1-255 bytes of UTF-8 without NUL */
#define PAWL_MISUSE_PACKAGE 0x1301   /* these bytes are no key package */
#define PAWL_STATE_BATCH 0x0105      /* not possible inside a batch */
#define PAWL_STATE_CONFLICT 0x0205   /* if_version names another version than the current one */
#define PAWL_STATE_WITHDRAWN 0x0305  /* a delete_all or reconcile overtook this put; nothing was stored */
#define PAWL_STATE_LAST_SLOT 0x0405  /* the last slot cannot be removed */
#define PAWL_STATE_NO_VAULT 0x0505   /* the secret lives in a vault and this store was opened without one */
#define PAWL_STATE_IDENTITY 0x0605   /* this verified peer has another identity now; accept it first */
#define PAWL_STATE_RECEIVE_ONLY 0x0705 /* another session has taken this one's place, or the peer has closed it */
#define PAWL_STATE_SUITE 0x0805      /* a weaker suite than allowed, or than this peer used before */
#define PAWL_STATE_SELF 0x0905       /* a session with one's own identity */
#define PAWL_STATE_RESERVATION 0x0A05 /* no index reserved before this batch: encrypt outside, or send */
#define PAWL_STATE_MODE 0x0B05       /* messages of this session wait for epochs of their own: send, do not encrypt */
#define PAWL_STATE_BACKUP 0x0D05     /* this account's backup has no key, or no version */
#define PAWL_STATE_ROTATION 0x0C05   /* this account's packages rotate by themselves; see pawl_rotation_now */
#define PAWL_LIMIT_SECRET 0x0109     /* a secret above 16 MiB */
#define PAWL_LIMIT_ATTRIBUTES 0x0209 /* more than 64 attributes */
#define PAWL_LIMIT_SLOTS 0x0309      /* more than 16 slots */
#define PAWL_LIMIT_MEMORY 0x0409     /* out of memory */
#define PAWL_LIMIT_COUNTER 0x0509    /* a 64-bit counter of the store is used up */
#define PAWL_LIMIT_MESSAGE 0x0609    /* a message above 16 MiB */
#define PAWL_LIMIT_INDEX 0x0709      /* 2^31 messages in one epoch and direction; history opens 2^22 of them */
#define PAWL_LIMIT_SESSIONS 0x0809   /* 8 sessions of one identity, 64 of one name, or 256 unconfirmed of one account */
#define PAWL_LIMIT_PACKAGES 0x0909   /* more key packages or one-time keys than an account may hold */
#define PAWL_LIMIT_QUEUE 0x0A09      /* as many messages as may wait for an epoch do; nothing was dropped */
#define PAWL_CORRUPT_KEY_LOST 0x010B /* what held the key or the secret is gone */
#define PAWL_CORRUPT_NOT_PAWL 0x020B /* the file is not a Pawl store; untouched */
#define PAWL_STORE_INDETERMINATE 0x010C /* whether the commit happened is unknown */
#define PAWL_STORE_VAULT 0x020C      /* the host's vault failed; the code is its own */
#define PAWL_STORE_FULL 0x030C       /* no space left */
#define PAWL_STORE_READ_ONLY 0x040C  /* the file or its folder cannot be written */
#define PAWL_STORE_CANNOT_OPEN 0x050C /* the file or its folder cannot be opened */
#define PAWL_STORE_HOST 0x060C       /* a pawl_storage callback failed; the code is its own */
#define PAWL_STORE_LOST 0x070C       /* this batch's transaction is lost; roll it back */
#define PAWL_BUSY_REENTERED 0x010D   /* called from inside one of the store's own callbacks */
#define PAWL_BUSY_CHANGED 0x020D     /* another writer kept changing the same thing */
#define PAWL_BUSY_RATE 0x030D        /* too often; try again later */
#define PAWL_BUSY_WAITING 0x040D     /* it has not happened yet; wait again */
#define PAWL_CLOSED_FORKED 0x010E    /* the handle was inherited through fork() */
#define PAWL_CLOSED_SESSION 0x020E   /* the session is closed, by this side or the other */

/* The name of a status ("PAWL_STATE_BATCH") and one sentence that says what to do. Both are static,
 * never NULL, and defined for every number. Since ABI 1. */
const char *pawl_status_name(pawl_status status);
const char *pawl_status_text(pawl_status status);

/* ---------------------------------------------------------------- handles */

/* One sealed database, or a batch on one. */
typedef struct pawl_store pawl_store;
/* An immutable result of rows. */
typedef struct pawl_view pawl_view;
/* An archive that is being written or read, by one thread at a time. Closed before its store or after it. */
typedef struct pawl_stream pawl_stream;

/* The number of rows; 0 for NULL. Since ABI 1. */
size_t pawl_view_count(const pawl_view *view);
/* Wipes and frees a view and all that its rows point to. NULL is allowed. Since ABI 1. */
void pawl_view_close(pawl_view *view);

/* ---------------------------------------------------------------- callbacks */

typedef struct pawl_clock {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    void *context;
    int64_t (*now_ns)(void *context);
} pawl_clock;

/* Receives one record; a status other than PAWL_OK ends a scan, which then returns it. */
typedef pawl_status (*pawl_visit)(void *visitor, const uint8_t *key, size_t key_size, const uint8_t *value,
                                  size_t value_size);

#define PAWL_TRANSACTION_READ 1
#define PAWL_TRANSACTION_WRITE 2

/* A storage engine of the host: an ordered map of byte keys (1-81 bytes, compared as unsigned bytes) to
 * byte values (up to 17 MiB + 128 KiB) with transactions. `begin` gives a transaction that sees one
 * consistent snapshot; a write transaction is the only one of its kind until it ends. What commit
 * acknowledged survives a crash; what was not committed is never seen. Callbacks return PAWL_OK;
 * PAWL_BUSY when another writer is in the way; PAWL_STORE_FULL, PAWL_STORE_READ_ONLY or (from commit
 * alone) PAWL_STORE_INDETERMINATE; any other number 1-32767 arrives as the code of PAWL_STORE_HOST. */
typedef struct pawl_storage {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    void *context;
    pawl_status (*begin)(void *context, uint32_t mode, void **transaction);
    /* Calls visit once with the value if the key is there, else not at all. */
    pawl_status (*get)(void *context, void *transaction, const uint8_t *key, size_t key_size, pawl_visit visit,
                       void *visitor);
    pawl_status (*put)(void *context, void *transaction, const uint8_t *key, size_t key_size,
                       const uint8_t *value, size_t value_size);
    /* Removing what is not there is PAWL_OK. */
    pawl_status (*remove)(void *context, void *transaction, const uint8_t *key, size_t key_size);
    /* Visits at most `limit` records with from <= key < to, in ascending order of keys. */
    pawl_status (*scan)(void *context, void *transaction, const uint8_t *from, size_t from_size,
                        const uint8_t *to, size_t to_size, size_t limit, pawl_visit visit, void *visitor);
    /* Both end the transaction, whatever they return. */
    pawl_status (*commit)(void *context, void *transaction);
    void (*rollback)(void *context, void *transaction);
} pawl_storage;

#define PAWL_VAULT_ID_SIZE 16
/* What `get` and `next` of a vault return when there is nothing. */
#define PAWL_VAULT_ABSENT PAWL_NOT_FOUND

/* Where the host wants secrets to live: an operating system's keychain, an HSM, a cloud secret manager.
 * Values arrive sealed. Callbacks return PAWL_OK or a number 1-32767 of their own, which comes back as
 * the code of PAWL_STORE_VAULT. Each must be safe to repeat; calls come from the thread that called
 * Pawl or from a runner's, several at once if several threads do. */
typedef struct pawl_vault {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    void *context;
    /* Stores a value of at most 16 MiB + 8 KiB under a new id; on PAWL_OK it is durable. */
    pawl_status (*set)(void *context, const uint8_t id[PAWL_VAULT_ID_SIZE], const uint8_t *value,
                       size_t value_size);
    /* Writes the value, if out_size holds it, and in any case its size; PAWL_VAULT_ABSENT if absent. */
    pawl_status (*get)(void *context, const uint8_t id[PAWL_VAULT_ID_SIZE], uint8_t *out, size_t out_size,
                       size_t *out_len);
    /* Removing what is not there is PAWL_OK. */
    pawl_status (*remove)(void *context, const uint8_t id[PAWL_VAULT_ID_SIZE]);
    /* Optional: the lowest id above `after` (NULL: the first), PAWL_VAULT_ABSENT after the last. */
    pawl_status (*next)(void *context, const uint8_t *after, uint8_t id[PAWL_VAULT_ID_SIZE]);
    /* How long one write may take before reconcile may clear it away; 0: 60 seconds. */
    int64_t lease_ns;
} pawl_vault;

/* ---------------------------------------------------------------- keys and slots */

#define PAWL_KEY_RAW 1        /* 32 bytes */
#define PAWL_KEY_PASSPHRASE 2 /* 1-1024 bytes, hashed with Argon2id */
#define PAWL_KEY_RECOVERY 3   /* the text that pawl_recovery_key_generate wrote */

/* Argon2id of passphrase slots (RFC 9106): floor, default, ceiling. */
#define PAWL_HASHING_MEMORY_MIN 67108864       /* 64 MiB */
#define PAWL_HASHING_MEMORY_DEFAULT 268435456  /* 256 MiB */
#define PAWL_HASHING_MEMORY_MAX 1073741824     /* 1 GiB */
#define PAWL_HASHING_PASSES_MIN 3
#define PAWL_HASHING_PASSES_DEFAULT 3
#define PAWL_HASHING_PASSES_MAX 10

/* What opens a store. memory_size and passes count when a passphrase slot is written; 0: the default. */
typedef struct pawl_key {
    uint32_t struct_size;
    uint32_t kind; /* PAWL_KEY_* */
    const void *secret;
    size_t secret_size;
    uint64_t memory_size; /* bytes */
    uint32_t passes;
    uint32_t reserved; /* must be 0 */
} pawl_key;

/* ---------------------------------------------------------------- store */

#define PAWL_STORE_CREATE 1    /* create the store if there is none */
#define PAWL_STORE_EXCLUSIVE 2 /* with CREATE: PAWL_EXISTS if there is one */
#define PAWL_STORE_MEMORY 4    /* a new store in memory; path and storage must be empty */

#define PAWL_BUSY_TIMEOUT_DEFAULT INT64_C(5000000000)

typedef struct pawl_store_options {
    uint32_t struct_size;
    uint32_t flags;           /* PAWL_STORE_* */
    const void *path;         /* of the SQLite file, UTF-8 without NUL; empty with storage or MEMORY */
    size_t path_size;
    const pawl_key *key;      /* required */
    int64_t busy_timeout_ns;  /* 0: 5 seconds; -1: do not wait */
    const pawl_clock *clock;     /* NULL: the system's */
    const pawl_storage *storage; /* NULL: SQLite at path */
    const pawl_vault *vault;     /* NULL: secrets live in the store itself */
} pawl_store_options;

/* Opens a store, or creates it. A file is created whole or not at all, readable by its owner alone, and
 * a symbolic link is not followed. A passphrase costs its Argon2id time and memory.
 * PAWL_NOT_FOUND: no store there, and PAWL_STORE_CREATE not given. PAWL_EXISTS: see
 * PAWL_STORE_EXCLUSIVE. PAWL_AUTH: wrong key. PAWL_VERSION: written by a newer Pawl.
 * PAWL_CORRUPT_NOT_PAWL: another program's file. PAWL_CORRUPT_KEY_LOST: its slots are gone. In all
 * these cases the file is untouched. Since ABI 1.
 * No process that has a store open may open and close its file by itself or through another copy of
 * SQLite: POSIX then drops the locks, and acknowledged commits can be lost. */
pawl_status pawl_store_open(const pawl_store_options *options, pawl_store **store);

/* Wakes and refuses everybody, waits for calls in flight, rolls back open batches (their handles stay
 * valid, answer PAWL_CLOSED and still have to be ended), wipes and frees. NULL is allowed. Views live
 * on. Since ABI 1. */
void pawl_store_close(pawl_store *store);

/* Writes a consistent copy, which opens with the same keys, to a new SQLite file, while others read and
 * write. PAWL_EXISTS if there is a file; PAWL_STATE_BATCH. Since ABI 1. (A plain copy of an open
 * store's file loses commits.) */
pawl_status pawl_store_copy(pawl_store *store, const void *path, size_t path_size);

typedef struct pawl_damage {
    uint32_t struct_size;
    pawl_status status;  /* PAWL_CORRUPT, PAWL_CORRUPT_KEY_LOST or PAWL_VERSION */
    const uint8_t *key;  /* the record's key in the storage engine */
    size_t key_size;
} pawl_damage;

/* Reads and authenticates every record and lists those that are damaged: rows of pawl_damage; none when all
 * is well. Of slots it can tell the form only: whether one opens shows when its key is tried. Changes nothing. Since ABI 1. */
pawl_status pawl_store_verify(pawl_store *store, pawl_view **damages);
pawl_status pawl_view_damage(const pawl_view *view, size_t row, pawl_damage *damage);

/* Counters since this handle was opened. A batch reports its own. */
typedef struct pawl_stats {
    uint32_t struct_size;
    uint32_t memory_locked; /* 1 if key memory is locked against swapping, else 0 */
    uint64_t transactions;  /* begun */
    uint64_t commits;       /* of write transactions */
    uint64_t reads;         /* records asked for by key */
    uint64_t scanned;       /* records that scans returned */
    uint64_t writes;        /* records put or removed */
    uint64_t vault_calls;
} pawl_stats;

pawl_status pawl_store_stats(pawl_store *store, pawl_stats *stats);

/* ---------------------------------------------------------------- slots */

typedef struct pawl_slot {
    uint32_t struct_size;
    uint32_t number;      /* 0-15 */
    uint32_t kind;        /* PAWL_KEY_* */
    uint32_t passes;      /* 0 unless a passphrase */
    uint64_t memory_size; /* bytes; 0 unless a passphrase */
    int64_t created_ns;
} pawl_slot;

/* The random master key of a store is wrapped in slots, at most 16; any one opens the store. Adding,
 * removing and changing rewrites one small record. A removed or changed key still opens old copies of
 * the file. All answer PAWL_STATE_BATCH on a batch and PAWL_BUSY_CHANGED when another process changed
 * the slots meanwhile. Since ABI 1. */
pawl_status pawl_slot_list(pawl_store *store, pawl_view **slots);
pawl_status pawl_view_slot(const pawl_view *view, size_t row, pawl_slot *slot);
/* PAWL_LIMIT_SLOTS when all 16 are taken. */
pawl_status pawl_slot_add(pawl_store *store, const pawl_key *key, uint32_t *number);
/* PAWL_NOT_FOUND: no such slot. */
pawl_status pawl_slot_change(pawl_store *store, uint32_t number, const pawl_key *key);
/* PAWL_NOT_FOUND: no such slot. PAWL_STATE_LAST_SLOT: it is the only one. */
pawl_status pawl_slot_remove(pawl_store *store, uint32_t number);

#define PAWL_RECOVERY_STORE 1
#define PAWL_RECOVERY_BACKUP 2
/* Room for every recovery key, its final NUL included. */
#define PAWL_RECOVERY_SIZE_MAX 128

/* Draws a recovery key and writes it as text: bech32m (BIP 350) in lower case, groups of 4 with spaces,
 * NUL-terminated; *out_len is without the NUL. Typed back, upper case, spaces and hyphens do not
 * matter. PAWL_BUFFER. Since ABI 1. */
pawl_status pawl_recovery_key_generate(uint32_t kind, char *out, size_t out_size, size_t *out_len);

/* ---------------------------------------------------------------- batches */

/* Starts one write transaction and returns it as a store of its own, which every function that does not
 * exclude batches takes. What was written through it is seen by others after commit, all at once.
 * PAWL_STATE_BATCH on a batch. Since ABI 1. */
pawl_status pawl_batch_begin(pawl_store *store, pawl_store **batch);
/* Commits and frees the batch; it is freed whatever is returned (but PAWL_BUSY_REENTERED, from inside a
 * callback, and PAWL_MISUSE_HANDLE, on a store, leave the handle alone). PAWL_STORE_LOST: the transaction had been
 * lost before, and nothing was written. PAWL_CLOSED: its store was closed, nothing was written. */
pawl_status pawl_batch_commit(pawl_store *batch);
/* Forgets all that was written through the batch and frees it. NULL is allowed. */
void pawl_batch_rollback(pawl_store *batch);

/* ---------------------------------------------------------------- credentials */

/* Whose credential: user 1-256 bytes, project 0-256 bytes, UTF-8 without NUL. No scope sees another. */
typedef struct pawl_scope {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    const void *user;
    size_t user_size;
    const void *project;
    size_t project_size;
} pawl_scope;

typedef struct pawl_attribute {
    const void *key; /* 1-128 bytes */
    size_t key_size;
    const void *value; /* 0-512 bytes */
    size_t value_size;
} pawl_attribute;

#define PAWL_PUT_CREATE_ONLY 1    /* PAWL_EXISTS if there is one */
#define PAWL_PUT_IF_VERSION 2     /* PAWL_STATE_CONFLICT unless if_version is the current version */
#define PAWL_PUT_SET_EXPIRY 4     /* expires_ns, which must lie in the future: PAWL_TIME */
#define PAWL_PUT_CLEAR_EXPIRY 8   /* does not expire any more */
#define PAWL_PUT_SET_LABEL 16     /* replace what the flag names, an empty value clears it; */
#define PAWL_PUT_SET_PROVIDER 32  /* without the flag an update keeps what is there */
#define PAWL_PUT_SET_ATTRIBUTES 64

typedef struct pawl_put_options {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_PUT_* */
    uint64_t if_version;
    int64_t expires_ns;
    const void *label; /* 0-256 bytes */
    size_t label_size;
    const void *provider; /* 0-256 bytes */
    size_t provider_size;
    const pawl_attribute *attributes; /* at most 64 */
    size_t attribute_count;
} pawl_put_options;

#define PAWL_SECRET_SIZE_MAX 16777216 /* 16 MiB */

#define PAWL_CREDENTIAL_DELETED 1  /* deleted, can be restored until purge_ns */
#define PAWL_CREDENTIAL_IN_VAULT 2 /* the secret lives in the host's vault */

/* One version of a credential. */
typedef struct pawl_credential {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_CREDENTIAL_* */
    uint64_t version;
    int64_t created_ns; /* of its first version */
    int64_t updated_ns; /* of this version */
    int64_t expires_ns; /* PAWL_NEVER: does not expire */
    int64_t purge_ns;   /* PAWL_NEVER unless deleted */
    const uint8_t *name;
    size_t name_size;
    const uint8_t *label;
    size_t label_size;
    const uint8_t *provider;
    size_t provider_size;
    const uint8_t *secret; /* NULL unless the view came from pawl_credential_get */
    size_t secret_size;    /* the true size, whether or not the secret is here */
    size_t attribute_count;
} pawl_credential;

/* Creates or replaces the secret of `name` (1-256 bytes) in `scope`: 0 bytes to 16 MiB, durable when this
 * returns. *version (may be NULL) is greater than every version committed to this store before, of any
 * name; one from a batch that was rolled back may be given again.
 * `options` may be NULL. PAWL_EXISTS, PAWL_NOT_FOUND (PAWL_PUT_IF_VERSION and nothing there),
 * PAWL_STATE_CONFLICT, PAWL_STATE_WITHDRAWN, PAWL_TIME, PAWL_LIMIT_SECRET, PAWL_LIMIT_ATTRIBUTES,
 * PAWL_STORE_VAULT. Since ABI 1. */
pawl_status pawl_credential_put(pawl_store *store, const pawl_scope *scope, const void *name, size_t name_size,
                                const void *secret, size_t secret_size, const pawl_put_options *options,
                                uint64_t *version);

/* One row: secret and metadata of the same version. PAWL_NOT_FOUND; PAWL_STATE_NO_VAULT;
 * PAWL_STORE_VAULT; PAWL_CORRUPT_KEY_LOST: the record is there and its secret is gone. An expired
 * credential is purged by the call that meets it, so that a clock stepping back does not bring it
 * back. Since ABI 1. */
pawl_status pawl_credential_get(pawl_store *store, const pawl_scope *scope, const void *name, size_t name_size,
                                pawl_view **credential);
/* The same without the secret; a vault is not asked. */
pawl_status pawl_credential_metadata(pawl_store *store, const pawl_scope *scope, const void *name,
                                     size_t name_size, pawl_view **credential);
/* *has is 1 or 0. Since ABI 1. */
pawl_status pawl_credential_has(pawl_store *store, const pawl_scope *scope, const void *name, size_t name_size,
                                int32_t *has);

/* At most `limit` (1-10000) rows of one scope, without secrets, after the one named `after_name` (empty: from
 * the start; it need not exist any more). The order is stable and means nothing. Fewer rows than
 * `limit` are the last page. A damaged record is left out; pawl_store_verify names it. Since ABI 1. */
pawl_status pawl_credential_list(pawl_store *store, const pawl_scope *scope, const void *after_name,
                                 size_t after_name_size, size_t limit, pawl_view **credentials);
/* Deleted versions of one name that can be restored, oldest first; all there are. Since ABI 1. */
pawl_status pawl_credential_deleted(pawl_store *store, const pawl_scope *scope, const void *name,
                                    size_t name_size, pawl_view **credentials);

pawl_status pawl_view_credential(const pawl_view *view, size_t row, pawl_credential *credential);
pawl_status pawl_view_attribute(const pawl_view *view, size_t row, size_t index, pawl_attribute *attribute);

/* Deletes a credential: at once with recovery_ns 0, else keeping the version for that time.
 * PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_credential_delete(pawl_store *store, const pawl_scope *scope, const void *name,
                                   size_t name_size, int64_t recovery_ns);
/* Brings a deleted version back (0: the newest). PAWL_EXISTS: there is a current one. PAWL_NOT_FOUND:
 * none to restore, or its window is over. Since ABI 1. */
pawl_status pawl_credential_restore(pawl_store *store, const pawl_scope *scope, const void *name,
                                    size_t name_size, uint64_t version);

#define PAWL_DELETE_ALL_PROJECTS 1 /* every project of the user; the scope's own project must be empty */

/* Deletes every credential of a scope in one transaction, deleted versions and writes in flight included: such
 * a put ends with PAWL_STATE_WITHDRAWN. *count (may be NULL): current credentials deleted. Since ABI 1. */
pawl_status pawl_credential_delete_all(pawl_store *store, const pawl_scope *scope, uint32_t flags,
                                       uint64_t *count);

/* ---------------------------------------------------------------- archives */

/* An archive is a file with the current credentials of a scope, secrets included, sealed for one key of its own: whoever
 * has the file and the key has them all. The library neither opens nor names files, the host moves the bytes. A
 * PAWL_KEY_RECOVERY is one of PAWL_RECOVERY_BACKUP here, a PAWL_KEY_PASSPHRASE is hashed as for a slot. What
 * fails once answers the same from then on. */

#define PAWL_EXPORT_ALL_PROJECTS 1 /* every project of the user; the scope's own project must be empty */

/* So far. */
typedef struct pawl_archive_report {
    uint32_t struct_size;
    uint32_t reserved;    /* 0 */
    uint64_t credentials; /* in the archive */
    uint64_t imported;    /* there was none of the name */
    uint64_t improved;    /* the one that was here had been updated earlier, and was replaced */
    uint64_t kept;        /* the one that was here had been updated as late, or later */
    uint64_t expired;     /* over before they were imported */
    uint64_t unreadable;  /* damaged here and left out, or in the archive and of a newer version */
} pawl_archive_report;

/* Starts an archive of `scope` (NULL: of all credentials of the store). Each credential is as it is when the archive
 * comes to it; deleted versions are left out. PAWL_STATE_BATCH; PAWL_MISUSE_RECOVERY, PAWL_MISUSE_KEY. Since ABI 1. */
pawl_status pawl_export_begin(pawl_store *store, const pawl_scope *scope, uint32_t flags, const pawl_key *key,
                              pawl_stream **stream);
/* Writes the next bytes of an archive into `out`, as many as there is room for; *size less than `out_size`: that was
 * all. In memory are 64 KiB and one credential at a time. PAWL_MISUSE_HANDLE: it is being imported. Since ABI 1. */
pawl_status pawl_stream_read(pawl_stream *stream, void *out, size_t out_size, size_t *size);

/* Starts to import an archive. What was updated later wins, here or there; a credential that was deleted here comes back.
 * All or nothing: credentials are seen by others when pawl_stream_finish has answered PAWL_OK. From the first bytes to
 * then it is a batch, and others wait to write. PAWL_STATE_BATCH: a batch, or a store with a vault, whose values no
 * transaction can hold. Since ABI 1. */
pawl_status pawl_import_begin(pawl_store *store, const pawl_key *key, pawl_stream **stream);
/* The archive's next bytes, any number of them. PAWL_AUTH: it is for another key; PAWL_CORRUPT_NOT_PAWL: it is no
 * archive; PAWL_CORRUPT: a byte of it was changed; PAWL_VERSION; PAWL_MISUSE_HANDLE: it is being exported. Since ABI 1. */
pawl_status pawl_stream_write(pawl_stream *stream, const void *bytes, size_t size);
/* All was written: keeps what is in the archive, durably. PAWL_CORRUPT: something is missing at its end; nothing is kept.
 * Since ABI 1. */
pawl_status pawl_stream_finish(pawl_stream *stream);
/* At any time: as of the last call that has returned. Since ABI 1. */
pawl_status pawl_stream_report(pawl_stream *stream, pawl_archive_report *report);
/* Frees a stream. An import that was not finished has not happened. NULL is allowed; from inside a callback of its store it
 * does nothing. Since ABI 1. */
void pawl_stream_close(pawl_stream *stream);

/* ---------------------------------------------------------------- unfinished vault writes */

#define PAWL_ORPHAN_INTENT 1       /* a put that has not flipped yet */
#define PAWL_ORPHAN_RECORDED 2     /* an id that nothing points to any more and that is still to be removed */
#define PAWL_ORPHAN_UNATTRIBUTED 3 /* in the vault, unknown here; reported, never removed */

#define PAWL_OUTCOME_NONE 0         /* listed, not acted on */
#define PAWL_OUTCOME_WAITING 1      /* its lease or grace period is not over */
#define PAWL_OUTCOME_WOULD_REMOVE 2 /* dry run */
#define PAWL_OUTCOME_REMOVED 3
#define PAWL_OUTCOME_FAILED 4       /* the vault refused; cause_remove says how; PAWL_JOB_ORPHAN_RETRY tries again */

typedef struct pawl_orphan {
    uint32_t struct_size;
    uint32_t kind;    /* PAWL_ORPHAN_* */
    uint32_t outcome; /* PAWL_OUTCOME_* */
    uint32_t attempts; /* to remove it */
    uint8_t vault_id[PAWL_VAULT_ID_SIZE];
    uint64_t version;
    int64_t recorded_ns;
    int64_t lease_ns;   /* when its writer's lease ends */
    int64_t sighted_ns; /* when reconcile first met it; PAWL_NEVER: not yet */
    int32_t cause_set;    /* what the vault's set answered, 0: nothing wrong */
    int32_t cause_remove; /* what the vault's remove answered last */
    const uint8_t *user;
    size_t user_size;
    const uint8_t *project;
    size_t project_size;
    const uint8_t *name;
    size_t name_size;
} pawl_orphan;

/* Lists intents and orphans in the order of their ids, at most `limit` (1-10000) rows, after `after_id` (NULL:
 * from the start; it need not be there any more). Since ABI 1. */
pawl_status pawl_credential_orphans(pawl_store *store, const uint8_t *after_id, size_t limit,
                                    pawl_view **orphans);
pawl_status pawl_view_orphan(const pawl_view *view, size_t row, pawl_orphan *orphan);

#define PAWL_RECONCILE_DRY_RUN 1 /* say what would be done, change nothing */

typedef struct pawl_reconcile_options {
    uint32_t struct_size;
    uint32_t flags;   /* PAWL_RECONCILE_* */
    int64_t grace_ns; /* between two sightings; 0: 60 seconds; -1: none */
} pawl_reconcile_options;

/* Finds writes that a crash or a failing vault left unfinished and settles them: whatever has been sighted
 * twice, with the grace period between, after its lease, is removed from the vault. What is recorded as an orphan already, the
 * schedule removes by itself. The view's rows
 * (pawl_orphan) say what was found and done. `options` may be NULL. PAWL_STATE_NO_VAULT,
 * PAWL_STATE_BATCH. Since ABI 1. */
pawl_status pawl_credential_reconcile(pawl_store *store, const pawl_reconcile_options *options,
                                      pawl_view **orphans);

/* ---------------------------------------------------------------- accounts */

#define PAWL_ACCOUNT_ID_SIZE 16
#define PAWL_IDENTITY_KEY_SIZE 32
#define PAWL_SESSION_ID_SIZE 16

/* The public side of an account, or of a peer's: two public keys and the name that the host gave. */
typedef struct pawl_identity {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    uint8_t signing_key[PAWL_IDENTITY_KEY_SIZE];   /* Ed25519, RFC 8032 */
    uint8_t agreement_key[PAWL_IDENTITY_KEY_SIZE]; /* X25519, RFC 7748 */
    const void *name; /* 1-255 bytes of UTF-8 without NUL */
    size_t name_size;
} pawl_identity;

/* An identity in a store. A store may hold thousands. */
typedef struct pawl_account {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    uint8_t id[PAWL_ACCOUNT_ID_SIZE];
    uint8_t signing_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t agreement_key[PAWL_IDENTITY_KEY_SIZE];
    int64_t created_ns;
    const uint8_t *name;
    size_t name_size;
} pawl_account;

/* Draws an identity under a name of 1-255 bytes, which peers will see, and writes its account's random id.
 * Names need not differ. PAWL_MISUSE_ACCOUNT. Since ABI 1. */
pawl_status pawl_account_create(pawl_store *store, const void *name, size_t name_size,
                                uint8_t account[PAWL_ACCOUNT_ID_SIZE]);
/* One row. PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_account_get(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                             pawl_view **view);
/* At most `limit` (1-10000) rows in the order of their ids, after `after_id` (NULL: from the start; it need not
 * be there any more). A damaged record is left out; pawl_store_verify names it. Since ABI 1. */
pawl_status pawl_account_list(pawl_store *store, const uint8_t *after_id, size_t limit, pawl_view **accounts);
/* Erases an account and its secret keys, with its key packages, peers, sessions, history, the state of its backup (what
 * its server has stays there) and what the outbox holds of them. PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_account_delete(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE]);

pawl_status pawl_view_account(const pawl_view *view, size_t row, pawl_account *account);

/* Room for a safety number: 12 groups of 5 digits, spaces between them, NUL. */
#define PAWL_SAFETY_NUMBER_SIZE 72
/* A safety number for a QR code: one version byte and two hashes of 32 bytes. */
#define PAWL_SAFETY_CODE_SIZE 65

/* What two people compare to know that nobody stands between them: the same for (a, b) and (b, a), another one as
 * soon as a key or name of either differs. As digits to read aloud, NUL-terminated (*out_len is
 * without the NUL), and as bytes to show as a QR code and compare whole. Takes a few milliseconds.
 * PAWL_BUFFER, PAWL_MISUSE_ACCOUNT. Since ABI 1. */
pawl_status pawl_safety_number(const pawl_identity *a, const pawl_identity *b, char *out, size_t out_size,
                               size_t *out_len);
pawl_status pawl_safety_code(const pawl_identity *a, const pawl_identity *b, uint8_t *out, size_t out_size,
                             size_t *out_len);

/* ---------------------------------------------------------------- schedule */

/* All that must happen later is a row with a due time, and what the host must do is an item in the outbox. A host
 * waits in one of three ways and then calls pawl_store_run_due until it ran less than its limit, and
 * pawl_outbox_take until it gives nothing:
 *   - on a descriptor, in poll, select, epoll or an event loop: pawl_store_fd;
 *   - with a timer of its own: pawl_store_next_deadline, and again after each call that changed something;
 *   - not at all, calling pawl_store_run_due now and then.
 * Or it has the library do that: pawl_store_start_runner. Otherwise nothing runs by itself, and nothing wakes while nothing is due. Since ABI 1. */

/* A descriptor that is readable while a job is due or an item can be taken, also when another process made it so. It
 * belongs to the store: never read, write or close it, and take it out of the loop before
 * pawl_store_close. With a clock of the host it tells of new items and earlier deadlines only, and the host
 * watches the time. PAWL_STATE_BATCH. PAWL_STORE_CANNOT_OPEN: the system refused a descriptor, or this is no
 * Linux. */
pawl_status pawl_store_fd(pawl_store *store, int32_t *fd);

/* When the next job is due or the next item can be taken: in the past if that is now, PAWL_NEVER if nothing is
 * planned. */
pawl_status pawl_store_next_deadline(pawl_store *store, int64_t *deadline_ns);

/* Runs at most `limit` (1-10000) jobs that are due, the earliest first, each in a transaction of its own. *ran: how
 * many; fewer than `limit` means that none is left. *next_deadline_ns as above. Either may be NULL. A job
 * that fails is tried again later, ever more seldom, and holds up no other; after 10 failures it is a dead letter. After
 * the clock was set back by more than a minute, what is planned for later than its kind can be is due at once, and items
 * that are lent or put off for more than a day can be taken. PAWL_STATE_BATCH. */
pawl_status pawl_store_run_due(pawl_store *store, size_t limit, size_t *ran, int64_t *next_deadline_ns);

/* Tells this handle that another process committed, where the library cannot see that by itself (a storage engine of
 * the host). */
pawl_status pawl_store_nudge(pawl_store *store);

/* A thread of the library that runs what is due, for a host that wants none of the above. It sleeps until something is due or
 * somebody commits, and where the system is asked for a descriptor and has none, or is no Linux, it looks once a minute for
 * what other processes committed. With a clock of the host it looks at each nudge and commit. */
typedef struct pawl_runner {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    void *context;
    /* Optional: called on that thread, under no lock, when it looks and items can be taken. Take until there are none, here or
     * elsewhere: it looks again when items are taken, change or come, and never just because some are left. */
    void (*items_ready)(void *context);
} pawl_runner;

/* At most one for a handle: PAWL_EXISTS. It takes no signals. A fork's child has none. PAWL_STATE_BATCH. Since ABI 1. */
pawl_status pawl_store_start_runner(pawl_store *store, const pawl_runner *runner);
/* Returns when it has ended, also if there is none; pawl_store_close does the same, and called by items_ready it ends
 * when that returns. PAWL_CLOSED: the store was closed before it ended. PAWL_BUSY_REENTERED: called by items_ready.
 * PAWL_STATE_BATCH. Since ABI 1. */
pawl_status pawl_store_stop_runner(pawl_store *store);

/* Kinds of jobs, and what `subject` is. */
#define PAWL_JOB_CREDENTIAL_PURGE 1    /* remove an expired credential or a deleted version; a hash of its name */
#define PAWL_JOB_CHECKPOINT 2          /* bring what was erased out of the log; zeros */
#define PAWL_JOB_SETUP_DEADLINE 3      /* nobody answered a session's set-up; the session, as in those to 8 */
#define PAWL_JOB_LATE_KEYS 4           /* erase keys of messages that are late */
#define PAWL_JOB_SESSION_END 5         /* erase a receive-only or unconfirmed session */
#define PAWL_JOB_REKEY_RETRY 6         /* say again what was not answered */
#define PAWL_JOB_EPOCH_END 7           /* rekey by time */
#define PAWL_JOB_TOMBSTONE 8           /* forget a closed session */
#define PAWL_JOB_ROTATE_PACKAGE 9      /* draw a key package, or have it published again; the account */
#define PAWL_JOB_DELETE_PACKAGE 10     /* erase a superseded key package; the package */
#define PAWL_JOB_REPLENISH 11          /* the same as 9 for one-time keys; the account */
#define PAWL_JOB_VERIFY_PUBLICATION 12 /* ask what the server serves; the account */
#define PAWL_JOB_ORPHAN_RETRY 13       /* remove a value that the vault kept when it was to go; its id */
#define PAWL_JOB_BACKUP 14             /* go on with a backup; the account */

#define PAWL_JOB_DEAD 1 /* a dead letter: it failed 10 times, or its record is damaged, and is not tried any more */

typedef struct pawl_job {
    uint32_t struct_size;
    uint32_t kind; /* PAWL_JOB_* */
    uint8_t subject[16];
    int64_t due_ns;          /* of a dead letter: since when it is one; PAWL_NEVER: its record is damaged */
    uint32_t attempts;       /* that failed */
    pawl_status last_status; /* why the last one did, its primary code alone; PAWL_CORRUPT: the record is damaged */
    uint32_t flags;          /* PAWL_JOB_DEAD */
    uint32_t reserved;       /* 0 */
} pawl_job;

#define PAWL_JOBS_DEAD 1 /* the dead letters, in the order of kind and subject */

/* At most `limit` (1-10000) jobs in the order of due_ns that come after `after` (NULL: from the first), which need not be
 * there any more; of it kind, subject and due_ns count. Those of a newer Pawl are left out. Since ABI 1. */
pawl_status pawl_store_jobs(pawl_store *store, uint32_t flags, const pawl_job *after, size_t limit, pawl_view **jobs);
pawl_status pawl_view_job(const pawl_view *view, size_t row, pawl_job *job);
/* Makes a job of a dead letter again, due now and without failures. What plans the same job anew does so, too.
 * PAWL_NOT_FOUND; PAWL_MISUSE_FLAGS: no such kind. Since ABI 1. */
pawl_status pawl_job_revive(pawl_store *store, uint32_t kind, const uint8_t subject[16]);

/* ---------------------------------------------------------------- outbox */

#define PAWL_ITEM_FRAME 1   /* bytes for a peer: deliver them, then ack */
#define PAWL_ITEM_REQUEST 2 /* something to fetch or publish: do it, then answer */
#define PAWL_ITEM_EVENT 3   /* something that is true now: note it, then ack */

/* Events, in `what`. */
#define PAWL_EVENT_IDENTITY_CHANGED 1 /* this peer has other keys than before: show it to the user */
#define PAWL_EVENT_LOST 2             /* `count` messages of this session that were late cannot be read any more */
#define PAWL_EVENT_DESYNCHRONIZED 3   /* fetch a key package of this peer and call pawl_session_reset */
#define PAWL_EVENT_SETUP_EXPIRED 4    /* nobody answered this session's set-up; a request asks for a new package */
#define PAWL_EVENT_SESSION_ENDED 5    /* a session that was receive-only, or never confirmed, is erased: not before its
                                         kept messages are forgotten */
#define PAWL_EVENT_EPOCH 6            /* `count` is the epoch that counts: what pawl_session_rekey promised has come if it is not above that */
#define PAWL_EVENT_STALLED 7          /* the peer did not answer a rekey `count` times; it goes on being asked */
#define PAWL_EVENT_SESSION_CLOSED 8   /* the peer has closed this session; it is receive-only */
#define PAWL_EVENT_UNSENT 9           /* the message with ticket `count` will not be sent: its session is over */
#define PAWL_EVENT_PUBLICATION 10     /* the server does not serve what it should; `count` is a PAWL_PUBLICATION_* */
#define PAWL_EVENT_DEAD_LETTER 11     /* a job of kind `count` was set aside: see pawl_store_jobs; `account` is zeros if it
                                         is none's, or whose cannot be told */
/* Those of a backup: see pawl_view_item_backup. */
#define PAWL_EVENT_BACKUP_STATUS 12     /* it is in another state than before; `count` is its revision */
#define PAWL_EVENT_BACKUP_KEY_CACHED 13 /* a version became active, `count` is its generation; behind the status that says so */
#define PAWL_EVENT_BACKUP_REFUSED 14    /* something is not done; `count` is a PAWL_REFUSED_* */
#define PAWL_EVENT_BACKUP_RESTORING 15  /* a page of a restore is here; `count` is how many items came so far */
#define PAWL_EVENT_BACKUP_RESTORED 16   /* a restore is over; `count` is how many items came */
#define PAWL_EVENT_BACKUP_FINDING 17    /* what the server shows is not what was put there: `count` is a PAWL_FINDING_*, `body` the
                                           writer's account or the place (16) that it is about */
/* Requests, in `what`. Those about the account's own packages name the account itself as `peer`. */
#define PAWL_REQUEST_PACKAGE 1      /* fetch a key package of `peer`; answer with its bytes */
#define PAWL_REQUEST_PUBLISH 2      /* have the server serve this package, with `count` one-time keys, in place of what it has
                                       (pawl_view_item_package); answer with nothing when it does */
#define PAWL_REQUEST_PUBLISH_KEYS 3 /* give the server `count` more one-time keys of the package it serves; answer with nothing */
#define PAWL_REQUEST_READ_BACK 4    /* fetch this account's own package as an initiator would; answer with its bytes, or with
                                       nothing if the server has none */
/* Those of a backup: see pawl_view_item_backup_request; answer with pawl_backup_answer. */
#define PAWL_REQUEST_BACKUP_VERSION 5 /* which version is the server's current one? */
#define PAWL_REQUEST_BACKUP_ESCROW 6  /* put the recovery key in `body` away */
#define PAWL_REQUEST_BACKUP_CREATE 7  /* make a version of `body`, which is the current one from then on */
#define PAWL_REQUEST_BACKUP_DELETE 8  /* delete a version and all that is in it */
#define PAWL_REQUEST_BACKUP_PUT 9     /* store entries in a version */
#define PAWL_REQUEST_BACKUP_PAGE 10   /* fetch so many entries of a version as you like, from a cursor on */
#define PAWL_REQUEST_BACKUP_ITEM 11   /* fetch the entry at one place */
#define PAWL_REQUEST_BACKUP_SECRET 12 /* ask the user's other accounts for the secret, naming `count`; then ack: see
                                         pawl_backup_receive */
/* What was found, in `count` of PAWL_EVENT_PUBLICATION. Another package is published as soon as may be. */
#define PAWL_PUBLICATION_ABSENT 1     /* the server has none */
#define PAWL_PUBLICATION_EXPIRED 2    /* its time is over, and nobody answered for the next one */
#define PAWL_PUBLICATION_SUPERSEDED 3 /* one of this account that is no longer published */
#define PAWL_PUBLICATION_UNKNOWN 4    /* one of this identity that is not stored here */
#define PAWL_PUBLICATION_FOREIGN 5    /* one of another identity: somebody may stand between */
#define PAWL_PUBLICATION_UNREADABLE 6 /* no package, or one that nobody signed */

/* What leaves the library: written in the transaction that decided it, handed out at least once. Items of one lane
 * (the frames of a session that carry messages, those that carry none, the requests of an account to publish, all others
 * that are not a backup's, those of its backup, its events) are handed out in the order of `seq`, and a lane that is stuck
 * holds up no other. */
typedef struct pawl_item {
    uint32_t struct_size;
    uint32_t kind;     /* PAWL_ITEM_* */
    uint32_t what;     /* PAWL_EVENT_* or PAWL_REQUEST_*; 0 for a frame */
    uint32_t attempts; /* how often it was handed out before */
    uint64_t seq;      /* increasing; what ack, fail and answer take */
    uint64_t count;    /* as its event says; of a frame the ticket of a message that had to wait, else 0 */
    uint8_t account[PAWL_ACCOUNT_ID_SIZE]; /* zeros: the store itself */
    uint8_t session[PAWL_SESSION_ID_SIZE]; /* zeros if it is about none */
    int64_t created_ns;
    int64_t lease_ns; /* when it may be handed out to somebody else */
    uint8_t peer_signing_key[PAWL_IDENTITY_KEY_SIZE]; /* zeros, and an empty name, if it is about nobody */
    uint8_t peer_agreement_key[PAWL_IDENTITY_KEY_SIZE];
    const uint8_t *peer_name;
    size_t peer_name_size;
    const uint8_t *body; /* the frame; of others what their own readers read; else empty */
    size_t body_size;
} pawl_item;

/* Hands out at most `limit` (1-10000) items that can be taken, and lends them to the caller for lease_ns (0: 30
 * seconds; at most a day). Nobody else gets an item, or a later one of its lane, before it is settled or
 * its lease ends. Rows of pawl_item, in each lane in order; none if there is nothing. At most 32 MiB at once, but
 * always one. PAWL_STATE_BATCH. Since ABI 1. */
pawl_status pawl_outbox_take(pawl_store *store, size_t limit, int64_t lease_ns, pawl_view **items);
pawl_status pawl_view_item(const pawl_view *view, size_t row, pawl_item *item);

/* These settle items, with or without a lease, from any handle; settling again is PAWL_OK. PAWL_NOT_FOUND: no item
 * ever had this number. Since ABI 1. */

/* Done: delivered, noted. For a request: given up; what is to be published is asked for again an hour later, what a backup
 * needs ever later. All of them or none; `count` 0-10000. */
pawl_status pawl_outbox_ack(pawl_store *store, const uint64_t *seq, size_t count);
/* Not done: it can be taken again after retry_after_ns (0: Pawl decides, later each time, at most after an hour). */
pawl_status pawl_outbox_fail(pawl_store *store, uint64_t seq, int64_t retry_after_ns);
/* Done: what a PAWL_ITEM_REQUEST asked for. PAWL_REQUEST_PACKAGE: `body` as in pawl_start_options. On an error, which
 * are those of pawl_session_start, the request stays. PAWL_MISUSE_FLAGS: not a request, or a backup's. */
pawl_status pawl_outbox_answer(pawl_store *store, uint64_t seq, const void *body, size_t body_size);

/* ---------------------------------------------------------------- key packages */

#define PAWL_SUITE_X25519 1 /* X25519 agreements */
#define PAWL_SUITE_XWING 2  /* and one X-Wing encapsulation, where libsodium has it (1.0.22) */

#define PAWL_PACKAGE_ID_SIZE 16
#define PAWL_PACKAGE_SIZE_MAX 4096 /* of a package; of a one-time key too */
#define PAWL_PACKAGE_LIFETIME_DEFAULT INT64_C(7776000000000000) /* 90 days, the longest that peers accept */

typedef struct pawl_package_options {
    uint32_t struct_size;
    uint32_t flags;          /* must be 0 */
    int64_t lifetime_ns;     /* 0: the default, and the most; at least a millisecond */
    uint32_t one_time_count; /* 0-500 */
    uint32_t reserved;       /* must be 0 */
} pawl_package_options;

/* Where a package is on its way. */
#define PAWL_PACKAGE_OWN 0        /* pawl_package_create made it; the host deletes it */
#define PAWL_PACKAGE_STAGED 1     /* drawn, and not answered for yet */
#define PAWL_PACKAGE_CURRENT 2    /* published */
#define PAWL_PACKAGE_SUPERSEDED 3 /* replaced; kept until remove_ns */

#define PAWL_PACKAGE 1          /* the signed package: many initiators may use it */
#define PAWL_PACKAGE_ONE_TIME 2 /* a one-time key of it: the server gives each to one initiator */

typedef struct pawl_package {
    uint32_t struct_size;
    uint32_t kind; /* PAWL_PACKAGE or PAWL_PACKAGE_ONE_TIME */
    uint8_t id[PAWL_PACKAGE_ID_SIZE];
    uint32_t key_id;         /* of a one-time key, else 0 */
    uint32_t one_time_count; /* of a package: private halves still here, else 0 */
    int64_t not_before_ns;
    int64_t not_after_ns;
    const uint8_t *bytes; /* what a server may give to anybody */
    size_t bytes_size;
    int64_t remove_ns;    /* when a superseded one is erased; else PAWL_NEVER */
    uint32_t state;       /* PAWL_PACKAGE_OWN to PAWL_PACKAGE_SUPERSEDED */
    uint32_t reserved;    /* 0 */
} pawl_package;

/* Draws a key package, with one-time keys, and stores its private half. Rows of pawl_package: the package, then
 * its one-time keys. Give them to a server; initiators take the package followed by at most one of its
 * one-time keys. PAWL_NOT_FOUND, PAWL_LIMIT_PACKAGES (16 packages). Since ABI 1. */
pawl_status pawl_package_create(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                                const pawl_package_options *options, pawl_view **packages);
/* The account's packages, oldest first, without one-time keys. Since ABI 1. */
pawl_status pawl_package_list(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], pawl_view **packages);
/* Erases a package's private half and its one-time keys: who uses it from now on cannot be read. PAWL_NOT_FOUND.
 * Since ABI 1. */
pawl_status pawl_package_delete(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                                const uint8_t package[PAWL_PACKAGE_ID_SIZE]);
pawl_status pawl_view_package(const pawl_view *view, size_t row, pawl_package *package);

/* What a PAWL_REQUEST_PUBLISH or _PUBLISH_KEYS item carries, by `index`: the package, if there is one, then its one-time keys,
 * whose lifetime is 0, all as it was when the item was made. PAWL_MISUSE_ROW behind the last, and for other items. Since
 * ABI 1. */
pawl_status pawl_view_item_package(const pawl_view *view, size_t row, size_t index, pawl_package *package);

/* Packages that come and go by themselves:
 *
 *     drawn -> staged -> answered: current -> the next one is answered: superseded -> erased
 *
 * Publish before retire: the host gets a PAWL_REQUEST_PUBLISH and answers it when the server has the package; only then the
 * one before is superseded, and its private half is kept for keep_ns more. A request that fails is repeated with the same
 * bytes. All of it happens in pawl_store_run_due, at the times below; nothing is asked or looked at in between. */

#define PAWL_ROTATION_NO_KEYS 1 /* no one-time keys */

/* 0 stands for the default. */
typedef struct pawl_rotation_options {
    uint32_t struct_size;
    uint32_t flags;            /* PAWL_ROTATION_NO_KEYS */
    int64_t rotate_ns;         /* 30 days, at least a second, less than lifetime_ns; the first package's is up to a fifth shorter */
    int64_t lifetime_ns;       /* 90 days, and at most that; at least a minute */
    int64_t keep_ns;           /* 14 days, at most 90; never past the package's end by more than an hour */
    int64_t welcome_delay_ns;  /* 5 seconds, at most an hour: a welcome without a one-time key rotates after it, */
    int64_t welcome_pause_ns;  /* but an hour (at most 90 days) after the last rotation for that reason at the earliest */
    int64_t readback_ns;       /* 7 days: how often the host is asked what the server serves; a minute to 90 days */
    uint32_t one_time_count;   /* 100, at most 500: that many one-time keys are with the server */
    uint32_t one_time_floor;   /* 20: it gets more when it has fewer */
} pawl_rotation_options;

typedef struct pawl_rotation {
    uint32_t struct_size;
    uint32_t flags;          /* 0 */
    int64_t rotate_ns;       /* when the current package is due to be replaced */
    int64_t readback_ns;     /* when the host is asked next, unless it is being asked */
    uint32_t one_time_count; /* one-time keys with the server, as far as known */
    uint32_t superseded;     /* packages that wait to be erased */
} pawl_rotation;

/* Has an account's packages rotate, from now on, or with other options than before (NULL: the defaults). The first one is due at
 * once; packages that pawl_package_create made are superseded by it. From then on that call, and pawl_package_delete of a package
 * in use, are PAWL_STATE_ROTATION. PAWL_NOT_FOUND; PAWL_MISUSE_TIME; PAWL_MISUSE_SIZE. Since ABI 1. */
pawl_status pawl_rotation_begin(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                                const pawl_rotation_options *options);
/* Replaces the current package now; one that is staged already is not replaced. PAWL_NOT_FOUND: no rotation. Since ABI 1. */
pawl_status pawl_rotation_now(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE]);
/* How many one-time keys the server still has, whenever it says so: it gives keys to initiators whose welcomes may never come.
 * PAWL_NOT_FOUND: no rotation. Since ABI 1. */
pawl_status pawl_rotation_report(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], uint32_t one_time_count);
/* PAWL_NOT_FOUND: no rotation. Since ABI 1. */
pawl_status pawl_rotation_get(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], pawl_rotation *rotation);

/* The weakest suite that this account uses: PAWL_SUITE_*. PAWL_STATE_SUITE: one that libsodium has not got here. Since
 * ABI 1. */
pawl_status pawl_account_set_min_suite(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], uint32_t suite);

/* ---------------------------------------------------------------- peers */

#define PAWL_TRUST_UNVERIFIED 0 /* whatever keys this name shows are taken, and a change is told */
#define PAWL_TRUST_VERIFIED 1   /* the user compared safety numbers: other keys must be accepted first */

#define PAWL_PEER_CHANGED 1   /* other keys were seen and wait to be accepted: new_signing_key, new_agreement_key */
#define PAWL_PEER_HAS_SESSION 2 /* `session` is the one to send in */

/* Somebody an account has, had or expects a session with, known by name. */
typedef struct pawl_peer {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_PEER_* */
    uint32_t trust; /* PAWL_TRUST_* */
    uint32_t suite; /* the strongest seen; a weaker one is refused */
    uint8_t signing_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t agreement_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t new_signing_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t new_agreement_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t session[PAWL_SESSION_ID_SIZE];
    int64_t changed_ns; /* when its keys were first seen, or changed last */
    const uint8_t *name;
    size_t name_size;
} pawl_peer;

/* One row. PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_peer_get(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const void *name,
                          size_t name_size, pawl_view **peer);
/* At most `limit` (1-10000) rows, after the one named `after_name` (empty: from the start), in an order that is stable
 * and means nothing. Since ABI 1. */
pawl_status pawl_peer_list(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const void *after_name,
                           size_t after_name_size, size_t limit, pawl_view **peers);
pawl_status pawl_view_peer(const pawl_view *view, size_t row, pawl_peer *peer);

/* Says what is thought of a peer's identity, and accepts it if it was waiting to be accepted. Sessions with its
 * former keys become receive-only. A peer that is not known yet is noted. One whose record is damaged, which is
 * PAWL_CORRUPT for all else, gets a new one; what it had of sessions becomes receive-only. PAWL_NOT_FOUND: no such
 * account. PAWL_AUTH: an agreement key that is not canonical. Since ABI 1. */
pawl_status pawl_peer_trust(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                            const pawl_identity *identity, uint32_t trust);
/* Sets the weakest suite that is taken of this peer; it rises when the peer uses a stronger one. PAWL_NOT_FOUND. Since
 * ABI 1. */
pawl_status pawl_peer_allow_suite(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const void *name,
                                  size_t name_size, uint32_t suite);

/* ---------------------------------------------------------------- sessions */

/* A session is two accounts' shared ratchet. Its id names one side of it, in all of a store; the sides differ in the
 * last bit, which is 0 on the initiator's. */

typedef struct pawl_start_options {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    const void *peer_name; /* whom the host means: the package must carry this name */
    size_t peer_name_size;
    const void *package; /* the bytes of a package, then of one of its one-time keys if there is one */
    size_t package_size;
} pawl_start_options;

#define PAWL_SESSION_INITIATOR 1     /* this side started it */
#define PAWL_SESSION_CONFIRMED 2     /* both sides are known to have it */
#define PAWL_SESSION_RECEIVE_ONLY 4  /* another has taken its place */
#define PAWL_SESSION_DESYNCHRONIZED 8 /* reported; waits for pawl_session_reset */

typedef struct pawl_session {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_SESSION_* */
    uint8_t id[PAWL_SESSION_ID_SIZE];
    uint8_t account[PAWL_ACCOUNT_ID_SIZE];
    uint32_t suite; /* PAWL_SUITE_* */
    uint32_t epoch;
    uint32_t sent;     /* the next index to be reserved in this epoch */
    uint32_t received; /* the next index expected in this epoch */
    uint32_t skipped;  /* keys kept for messages that are late */
    uint32_t target;   /* the epoch that a rekey under way leads to; 0: none is */
    uint32_t messages; /* what pawl_session_set_limits has set */
    uint32_t limit_flags;
    uint64_t bytes;
    int64_t interval_ns;
    uint32_t queue;
    uint32_t queued; /* messages that wait for an epoch */
    int64_t created_ns;
    int64_t ends_ns; /* when a receive-only or unconfirmed session is erased; PAWL_NEVER: it is not */
    uint8_t peer_signing_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t peer_agreement_key[PAWL_IDENTITY_KEY_SIZE];
    const uint8_t *peer_name;
    size_t peer_name_size;
} pawl_session;

/* Starts a session with whoever signed a key package. No frame is needed for it: until the first answer arrives, every
 * message carries what the peer needs to join. After 24 hours without an answer a fresh package is asked
 * for (PAWL_REQUEST_PACKAGE). PAWL_NOT_FOUND: no such account. PAWL_MISUSE_PACKAGE; PAWL_VERSION; PAWL_AUTH: a wrong
 * signature, name or key; PAWL_TIME: expired, not yet valid, or valid for too long; PAWL_STATE_IDENTITY;
 * PAWL_STATE_SUITE; PAWL_STATE_SELF; PAWL_LIMIT_SESSIONS: 8 sessions of this identity, those included that are receive-only
 * for 7 days and can be closed; or 64 of this name, of which none can end: where a name has no room the oldest session of
 * its former keys does (PAWL_EVENT_SESSION_ENDED), unless messages of it are kept. Since ABI 1. */
pawl_status pawl_session_start(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                               const pawl_start_options *options, uint8_t session[PAWL_SESSION_ID_SIZE]);
/* Starts a session in place of one that is desynchronized, from a fresh package of the same identity (another one is
 * PAWL_AUTH); the old one becomes receive-only. At most one a minute for each peer: PAWL_BUSY_RATE. Else as
 * pawl_session_start. Since ABI 1. */
pawl_status pawl_session_reset(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], const void *package,
                               size_t package_size, uint8_t new_session[PAWL_SESSION_ID_SIZE]);
/* Erases a session's keys, kept messages included, and tells the peer, for 7 days again when it sends something, ever more seldom. Frames
 * in the outbox stay; messages that waited for an epoch are PAWL_EVENT_UNSENT. PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_session_close(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE]);

/* One row. PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_session_get(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], pawl_view **view);
/* All sessions with one peer, oldest first. A damaged record is left out; pawl_store_verify names it. Since ABI 1. */
pawl_status pawl_session_list(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const void *peer_name,
                              size_t peer_name_size, pawl_view **sessions);
pawl_status pawl_view_session(const pawl_view *view, size_t row, pawl_session *session);

/* ---------------------------------------------------------------- rekeying */

/* Within an epoch each message has its own key; a rekey replaces the keys of both sides by fresh ones, so that what was
 * stolen before is of no use. Both sides may start one at the same time. What it takes goes through the outbox, and what is
 * lost is sent again by jobs of the schedule, so a host that serves both need do nothing else. */

#define PAWL_REKEY_FRESH 1 /* an epoch for which this side draws keys after this call, even if a rekey is under way: a theft of
                              this side's state before the call is healed. An offer of the peer's that crosses may be older; for
                              a theft of the peer's state ask there, or here for a second fresh epoch, too */

/* Asks for the next epoch, or joins the rekey that is under way; *epoch is the one to wait for: with pawl_session_wait,
 * or for PAWL_EVENT_EPOCH. PAWL_NOT_FOUND; PAWL_STATE_RECEIVE_ONLY; PAWL_STATE_IDENTITY; PAWL_LIMIT_INDEX. Since
 * ABI 1. */
pawl_status pawl_session_rekey(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], uint32_t flags,
                               uint32_t *epoch);
/* Waits until a session has reached `epoch`, at most timeout_ns; *reached (may be NULL) is the epoch that it has. Wakes for
 * what any thread or process does with the store's file, and at once for what has happened already; somebody must serve
 * outbox and schedule meanwhile. What this handle encrypts afterwards is of no epoch before *reached. PAWL_BUSY_WAITING:
 * not in time. PAWL_CLOSED_SESSION: closed, erased, or never there; PAWL_CLOSED: pawl_store_close was called.
 * PAWL_STORE_CANNOT_OPEN: each waiter has descriptors of its own, an inotify instance among them, and the system has no
 * more. PAWL_STATE_BATCH. Since ABI 1. */
pawl_status pawl_session_wait(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], uint32_t epoch,
                              int64_t timeout_ns, uint32_t *reached);

/* Perfect: each message leaves under an epoch that began after the one before it was sent. pawl_session_encrypt answers
 * PAWL_STATE_MODE; pawl_session_send keeps a message until its epoch begins, which costs a round trip, and its frame's item
 * names the ticket in `count`. Otherwise messages leave at once, and rekeying goes on beside them. */
#define PAWL_LIMITS_PERFECT 1
#define PAWL_QUEUE_MAX 4096

/* By what an epoch is over; 0: not by that. */
typedef struct pawl_rekey_limits {
    uint32_t struct_size;
    uint32_t flags;      /* PAWL_LIMITS_* */
    uint32_t messages;   /* frames that this side has sent, those of rekeying included */
    uint32_t queue;      /* messages that may wait for an epoch, at most 4096; 0: 64 */
    uint64_t bytes;      /* of messages that this side has sent; those of pawl_session_encrypt are counted when their reservation
                            ends */
    int64_t interval_ns; /* since it began: a job of the schedule */
} pawl_rekey_limits;

/* All 0, no rekey but on demand, is how a session begins. PAWL_NOT_FOUND; PAWL_MISUSE_TIME: a negative interval. Since
 * ABI 1. */
pawl_status pawl_session_set_limits(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE],
                                    const pawl_rekey_limits *limits);

/* What happened, in pawl_step.event. */
#define PAWL_STEP_OFFERED 1    /* this side asks for an epoch */
#define PAWL_STEP_ANSWERED 2   /* it answers the peer's offer */
#define PAWL_STEP_LEADS 3      /* both have offered; this side's counts */
#define PAWL_STEP_YIELDS 4     /* both have offered; the peer's counts, and is answered */
#define PAWL_STEP_REPEATED 5   /* it says again what the peer has not seen */
#define PAWL_STEP_COMMITTED 6  /* the epoch counts */
#define PAWL_STEP_REFUSED 7    /* too many offers: come again later */
#define PAWL_STEP_POSTPONED 8  /* the peer asks to come again later */
#define PAWL_STEP_STALE 9      /* the peer speaks of an epoch that is over */
#define PAWL_STEP_RETRIED 10   /* nothing came back in time: the same again */
#define PAWL_STEP_CLOSED 11    /* the peer has closed the session */

/* What became of the key pair behind this side's offer. */
#define PAWL_CONSTRUCTOR_NONE 0
#define PAWL_CONSTRUCTOR_CREATED 1
#define PAWL_CONSTRUCTOR_USED 2
#define PAWL_CONSTRUCTOR_WIPED 3

/* A transition of a session's rekeying. No secret is in it. */
typedef struct pawl_step {
    uint32_t struct_size;
    uint32_t event; /* PAWL_STEP_* */
    uint8_t session[PAWL_SESSION_ID_SIZE];
    uint8_t offer[16];    /* which exchange */
    uint32_t from;        /* the epoch before and after */
    uint32_t to;
    uint32_t target;      /* the epoch that it is about */
    uint32_t constructor; /* PAWL_CONSTRUCTOR_* */
} pawl_step;

/* Called after the commit of each transition that a call through this handle made, or its runner, under no lock, by the
 * thread of the call or the runner's. It must not call the store. */
typedef struct pawl_trace {
    uint32_t struct_size;
    uint32_t flags; /* must be 0 */
    void *context;
    void (*step)(void *context, const pawl_step *step);
} pawl_trace;

/* NULL ends it; a call under way in another thread may still report to the trace before. Since ABI 1. */
pawl_status pawl_store_trace(pawl_store *store, const pawl_trace *trace);

/* ---------------------------------------------------------------- messages */

#define PAWL_MESSAGE_SIZE_MAX 16777216 /* 16 MiB */
/* The most by which a frame is longer than its plaintext. */
#define PAWL_FRAME_OVERHEAD_MAX 4096

/* Encrypts 0 bytes to 16 MiB and writes the frame, which needs room for plaintext_size + PAWL_FRAME_OVERHEAD_MAX:
 * PAWL_BUFFER. The index it uses was reserved in the store before, so that no crash, copy or other process makes it be
 * used twice; delivering the frame is the host's. PAWL_NOT_FOUND; PAWL_STATE_MODE; PAWL_STATE_RECEIVE_ONLY;
 * PAWL_STATE_IDENTITY; PAWL_STATE_RESERVATION (in a batch); PAWL_TIME: the peer's package expired before the first message;
 * PAWL_LIMIT_MESSAGE; PAWL_LIMIT_INDEX. Since ABI 1. */
pawl_status pawl_session_encrypt(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], const void *plaintext,
                                 size_t plaintext_size, uint8_t *out, size_t out_size, size_t *out_len);
/* Encrypts and puts the frame into the outbox, durable when this returns. *ticket (may be NULL) is the item's number, or what
 * the item of a message that must wait for an epoch will have in `count`. PAWL_NOT_FOUND; PAWL_STATE_RECEIVE_ONLY;
 * PAWL_STATE_IDENTITY; PAWL_TIME; PAWL_LIMIT_MESSAGE; PAWL_LIMIT_INDEX; PAWL_LIMIT_QUEUE. Since ABI 1. */
pawl_status pawl_session_send(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], const void *plaintext,
                              size_t plaintext_size, uint64_t *ticket);

#define PAWL_RECEIVE_KEEP 1 /* keep the plaintext, if there is one, sealed, until pawl_session_forget */

typedef struct pawl_frame {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_RECEIVE_* */
    const void *bytes;
    size_t size;
} pawl_frame;

#define PAWL_RECEIVED_EMPTY 1       /* carried no message, not even one of 0 bytes */
#define PAWL_RECEIVED_AGAIN 2       /* kept from an earlier time */
#define PAWL_RECEIVED_NEW_SESSION 4 /* this frame set the session up */
#define PAWL_RECEIVED_UNACCEPTED 8  /* from new keys of a verified peer, which the host has not accepted */

typedef struct pawl_received {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_RECEIVED_* */
    uint8_t session[PAWL_SESSION_ID_SIZE];
    uint32_t epoch;
    uint32_t index;
} pawl_received;

/* Decrypts a frame that arrived for an account, setting a session up if need be. `out` needs room for the size of the
 * frame: PAWL_BUFFER. What the frame used up is durable before the plaintext is returned: without KEEP a crash may lose
 * it; with KEEP the same frame, delivered again, returns it again, with PAWL_RECEIVED_AGAIN.
 * PAWL_AUTH: not from the peer, or damaged; it cost one hash. PAWL_NOT_FOUND: no such account, session or package.
 * PAWL_REPLAY: received before. PAWL_DESYNCHRONIZED: from the peer, but this side cannot have its key; told once, as
 * PAWL_EVENT_DESYNCHRONIZED. PAWL_VERSION: a frame of a newer Pawl. PAWL_LIMIT_SESSIONS; PAWL_LIMIT_INDEX: its
 * index is 2^31 or more; PAWL_TIME: the package that it uses is over; PAWL_STATE_SUITE; PAWL_STATE_SELF. Since ABI 1. */
pawl_status pawl_account_receive(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                                 const pawl_frame *frame, uint8_t *out, size_t out_size, size_t *out_len,
                                 pawl_received *received);

typedef struct pawl_delivery {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_RECEIVE_* */
    const void *frame;
    size_t frame_size;
    uint8_t *out; /* room for frame_size */
    size_t out_size;
    /* Filled in: */
    size_t out_len;
    pawl_status status;
    uint32_t received_flags; /* PAWL_RECEIVED_* */
    uint8_t session[PAWL_SESSION_ID_SIZE];
    uint32_t epoch;
    uint32_t index;
} pawl_delivery;

/* The same for `count` (0-10000) frames in one transaction, in their order, a status each. Returns PAWL_OK if the
 * transaction was committed; else nothing was received and every status says so. Since ABI 1. */
pawl_status pawl_account_receive_many(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                                      pawl_delivery *deliveries, size_t count);

typedef struct pawl_kept {
    uint32_t struct_size;
    uint32_t flags; /* 0 */
    uint8_t session[PAWL_SESSION_ID_SIZE];
    uint32_t epoch;
    uint32_t index;
    const uint8_t *plaintext;
    size_t plaintext_size;
} pawl_kept;

/* The messages of a session that were received with KEEP and not forgotten yet, in the order of epoch and index: at
 * most `limit` (1-10000), and 32 MiB but always one; forget them and ask again. None of a session that is unknown. A
 * damaged record is left out; pawl_store_verify names it. Since ABI 1. */
pawl_status pawl_session_kept(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], size_t limit,
                              pawl_view **messages);
pawl_status pawl_view_kept(const pawl_view *view, size_t row, pawl_kept *kept);
/* Erases a kept message: the host has it. Forgetting again is PAWL_OK. Since ABI 1. */
pawl_status pawl_session_forget(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], uint32_t epoch,
                                uint32_t index);

/* ---------------------------------------------------------------- history */

/* An account may keep what opens its messages again: for each session, epoch and direction the first key, from
 * which all others follow. Stored frames then open for as long as the account lives, whatever became of their
 * sessions.
 *
 * It gives up forward secrecy for what it covers: who steals the store and the frames reads all that was said since
 * it was turned on, also what was deleted from the store, and a rekey heals nothing of it. Off unless the host
 * turns it on. */

/* Turns history on (1) or off (0) for an account. On: epochs that begin from then on are kept, those of sessions
 * that are there already not before their next rekey. Off: all of the account's history is erased, for good, and
 * the next checkpoint takes it out of the log. Repeating is PAWL_OK. PAWL_NOT_FOUND; PAWL_MISUSE_FLAGS: another
 * number. Since ABI 1. */
pawl_status pawl_history_enable(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], uint32_t on);
/* *on: 1 or 0. PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_history_enabled(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], uint32_t *on);

#define PAWL_HISTORY_RECEIVED 1 /* what the peer sent */
#define PAWL_HISTORY_SENT 2     /* what this account sent */

/* Its epoch is over for both sides, or its session is here: its key forges no more than what is still on its way (for 7
 * days at most), unless the peer has not heard of the session's close. Until then it forges whatever follows, and must
 * not leave the store. */
#define PAWL_HISTORY_CLOSED 1
#define PAWL_HISTORY_IMPORTED 2 /* it came from a backup */

/* One direction of an epoch. Its key does not cross this interface. */
typedef struct pawl_history {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_HISTORY_CLOSED, PAWL_HISTORY_IMPORTED */
    uint8_t session[PAWL_SESSION_ID_SIZE];
    uint32_t epoch;
    uint32_t direction; /* PAWL_HISTORY_RECEIVED or PAWL_HISTORY_SENT */
    uint32_t first;     /* the first index that opens */
    uint32_t end;       /* the index behind the last one; UINT32_MAX: not known yet */
    int64_t created_ns; /* when the epoch began here */
    uint8_t peer_signing_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t peer_agreement_key[PAWL_IDENTITY_KEY_SIZE];
    const uint8_t *peer_name;
    size_t peer_name_size;
} pawl_history;

/* At most `limit` (1-10000) rows, after the one that `after` names by session, epoch and direction (NULL: from the
 * start; it need not be there any more); those of one session together, by epoch. A damaged record is left out;
 * pawl_store_verify names it. PAWL_NOT_FOUND: no such account. PAWL_MISUSE_FLAGS: no such direction. Since ABI 1. */
pawl_status pawl_history_list(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const pawl_history *after,
                              size_t limit, pawl_view **rows);
pawl_status pawl_view_history(const pawl_view *view, size_t row, pawl_history *history);

#define PAWL_HISTORY_EMPTY 1 /* carried no message, not even one of 0 bytes */

/* Where a message of history comes from. That it opens says who wrote it; not that it is new, nor that it was ever
 * received. */
typedef struct pawl_history_message {
    uint32_t struct_size;
    uint32_t flags; /* PAWL_HISTORY_EMPTY */
    uint8_t session[PAWL_SESSION_ID_SIZE];
    uint32_t epoch;
    uint32_t index;
    uint32_t direction; /* PAWL_HISTORY_RECEIVED or PAWL_HISTORY_SENT */
    uint32_t peer_name_size;
    uint8_t peer_signing_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t peer_agreement_key[PAWL_IDENTITY_KEY_SIZE];
    uint8_t peer_name[256]; /* NUL-terminated */
} pawl_history_message;

/* Opens a frame that the account sent or received before, any number of times, by its history alone: no session is
 * looked at or changed, nothing is used up, and no answer comes of it. `out` needs room for the size of the frame:
 * PAWL_BUFFER. Each message between the first index and this one costs a hash, but reading on from one opened a
 * moment ago costs one. PAWL_NOT_FOUND: its epoch is not kept. PAWL_AUTH: not a frame of that epoch, or damaged.
 * PAWL_LIMIT_INDEX: more than 2^22 messages behind the first. PAWL_VERSION: a frame of a newer Pawl. Since ABI 1. */
pawl_status pawl_history_decrypt(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const void *frame,
                                 size_t frame_size, uint8_t *out, size_t out_size, size_t *out_len,
                                 pawl_history_message *message);

/* ---------------------------------------------------------------- backup */

/* An account's credentials and the keys of its history, kept on a server that can neither read nor forge them. The library
 * talks to no server: it puts PAWL_REQUEST_BACKUP_* items into the outbox, the host carries them out and answers with
 * pawl_backup_answer. Each version of a backup has a secret of 32 bytes, which a recovery key (PAWL_RECOVERY_BACKUP) is the
 * text of. What is backed up: credentials of scopes that were included; history of an account that keeps it
 * (pawl_history_enable), epoch by epoch when it is PAWL_HISTORY_CLOSED.
 *
 * Failure changes nothing of what is wanted: what failed is tried again, ever later, and begins with what the server has. A
 * version is deleted when the next one is active and filled, and not before. */

#define PAWL_BACKUP_SECRET_SIZE 32
#define PAWL_BACKUP_HASH_SIZE 32
#define PAWL_BACKUP_PLACE_SIZE 16

#define PAWL_BACKUP_ESCROW 1 /* the version is made when a PAWL_REQUEST_BACKUP_ESCROW was answered */

/* Makes the first version, with the secret of `key` (a PAWL_KEY_RECOVERY of PAWL_RECOVERY_BACKUP, or a PAWL_KEY_RAW), or
 * with one that is drawn (NULL: see pawl_backup_recovery_key). PAWL_REFUSED_EXISTS comes if there is one, here or on the
 * server. PAWL_NOT_FOUND: no such account. PAWL_MISUSE_KEY: a passphrase (pawl_recovery_wrap is for those), or the secret of the version before. Since ABI 1. */
pawl_status pawl_backup_create(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const pawl_key *key,
                               uint32_t flags);
/* Makes the next version, with another secret, whatever there is, and fills it. In constant time: nothing of what is to be
 * uploaded is looked at. The version before is deleted when that is done, if all that is in it is here: if this account made
 * it or has restored it to its end, and its last restore left nothing out and found nothing wrong. If not, it stays on the
 * server until pawl_backup_delete. What other accounts put there they put into the next one, once they have its secret. The
 * same errors; PAWL_REFUSED_EXISTS comes if the server's version has this very secret. Since ABI 1. */
pawl_status pawl_backup_reset(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const pawl_key *key,
                              uint32_t flags);
/* Turns it on, if it is off, and has the server asked which version is current. It becomes active if its secret is here.
 * Since ABI 1. */
pawl_status pawl_backup_enable(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE]);
/* Turns it off; what the server has stays there. Since ABI 1. */
pawl_status pawl_backup_disable(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE]);
/* Turns it off, has the server delete its versions, 8 at most (PAWL_REFUSED_ENDLESS), and forgets the secret. Since ABI 1. */
pawl_status pawl_backup_delete(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE]);
/* Turns it on with a secret as in pawl_backup_create; the version that the server has becomes active if it is its secret.
 * PAWL_REFUSED_WRONG_KEY, _NO_BACKUP, _ROLLED_BACK come if not. PAWL_MISUSE_RECOVERY: a typing error. Since ABI 1. */
pawl_status pawl_backup_recover(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const pawl_key *key);
/* The recovery key of the version whose secret is here, as pawl_recovery_key_generate writes them: for the user to keep.
 * PAWL_STATE_BACKUP: none is. PAWL_BUFFER. Since ABI 1. */
pawl_status pawl_backup_recovery_key(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], char *out,
                                     size_t out_size, size_t *out_len);

/* Room for every wrapped recovery key. */
#define PAWL_RECOVERY_WRAPPED_SIZE_MAX 512
/* Seals a recovery key of PAWL_RECOVERY_BACKUP for `key`, which may be a passphrase, so that it can be kept on a server by
 * whoever wants that: who has the result can try passphrases. PAWL_BUFFER; PAWL_MISUSE_RECOVERY; PAWL_MISUSE_HASHING. */
pawl_status pawl_recovery_wrap(const void *recovery, size_t recovery_size, const pawl_key *key, uint8_t *out,
                               size_t out_size, size_t *out_len);
/* The recovery key again, as text. PAWL_AUTH: another key; PAWL_CORRUPT_NOT_PAWL; PAWL_CORRUPT; PAWL_BUFFER. Since ABI 1. */
pawl_status pawl_recovery_unwrap(const void *wrapped, size_t wrapped_size, const pawl_key *key, char *out, size_t out_size,
                                 size_t *out_len);

#define PAWL_BACKUP_ALL_PROJECTS 1 /* every project of the user; the scope's own project must be empty */

/* From now on the credentials of `scope` are backed up by `account`, those that are there and those to come, and come back in
 * a restore. A deleted one leaves the server, too, and an expired one; one that is put into a vault later is not backed up any
 * more. One transaction, a second or so for 100,000. PAWL_STATE_BATCH: a store with a vault, whose values no transaction can
 * hold.
 * PAWL_EXISTS. Since ABI 1. */
pawl_status pawl_backup_include(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const pawl_scope *scope,
                                uint32_t flags);
/* No longer; what is in the backup stays in it until the next reset. PAWL_NOT_FOUND. Since ABI 1. */
pawl_status pawl_backup_exclude(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], const pawl_scope *scope,
                                uint32_t flags);

/* The state of a backup. */
#define PAWL_BACKUP_ON 1
#define PAWL_BACKUP_UPLOADING 2
#define PAWL_BACKUP_RESTORING 4
#define PAWL_BACKUP_STOPPED 8       /* and stopped: pawl_backup_restore goes on */
#define PAWL_BACKUP_OLDER 16        /* the server shows a version that is older than one that was seen: it can be restored
                                       with PAWL_RESTORE_ACCEPT_OLDER */
#define PAWL_BACKUP_SERVER_KNOWN 32 /* the server was asked; without a server_generation it has none */

#define PAWL_BACKUP_IDLE 0
#define PAWL_BACKUP_CHECKING 1
#define PAWL_BACKUP_ESCROWING 2
#define PAWL_BACKUP_CREATING 3
#define PAWL_BACKUP_DELETING 4
#define PAWL_BACKUP_WAITING 5 /* until retry_ns */

/* Whether there is something to restore from. */
#define PAWL_DOWNLOAD_READY 0
#define PAWL_DOWNLOAD_OFF 1
#define PAWL_DOWNLOAD_UNKNOWN 2     /* the server was not asked yet */
#define PAWL_DOWNLOAD_ABSENT 3      /* it has none */
#define PAWL_DOWNLOAD_KEY_MISSING 4 /* recover, or ask another account */
#define PAWL_DOWNLOAD_ROLLED_BACK 5 /* it shows an older version than one that was seen */

typedef struct pawl_backup {
    uint32_t struct_size;
    uint32_t flags;    /* PAWL_BACKUP_ON and those behind it */
    uint64_t revision; /* one higher with each change, but of what waits to be uploaded */
    uint32_t phase;    /* PAWL_BACKUP_IDLE to _WAITING */
    uint32_t download; /* PAWL_DOWNLOAD_* */
    uint64_t generation;        /* of the active version; 0: none is. Each version's is higher than those before */
    uint64_t server_generation; /* of the one that the server has, as its last answer has it; 0: none, or not known */
    uint64_t key_generation;    /* of the one whose secret is here; 0: none */
    uint8_t hash[PAWL_BACKUP_HASH_SIZE]; /* of the active version, zeros: none is; and of the others */
    uint8_t server_hash[PAWL_BACKUP_HASH_SIZE];
    uint8_t key_hash[PAWL_BACKUP_HASH_SIZE];
    uint64_t server_items; /* entries that the server says it has */
    uint64_t pending;      /* changes that are to be uploaded */
    uint64_t acknowledged; /* that are */
    int64_t retry_ns;      /* when what failed is tried again; PAWL_NEVER */
    uint64_t imported;     /* of a restore, so far: what was not here */
    uint64_t known;        /* what was here, and as good */
    uint64_t improved;     /* what was here, and not as good */
    uint64_t undecryptable; /* what was not sealed for its place with this secret */
    uint64_t malformed;    /* what is none of Pawl's, or of a newer one */
    uint64_t foreign;      /* credentials of scopes that this account does not include; they are left out */
    uint64_t findings;     /* PAWL_EVENT_BACKUP_RESTORED only: how many; the first 16 come as events */
    uint64_t writers;      /* the same: accounts that wrote */
    int64_t as_of_ns;      /* the same: when the newest of them did; 0: none says */
} pawl_backup;

/* PAWL_NOT_FOUND: no such account, or nothing was ever wanted of its backup. Since ABI 1. */
pawl_status pawl_backup_get(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], pawl_backup *backup);
/* What a PAWL_EVENT_BACKUP_* item (but _FINDING) carries: the state as it was committed together with the event. */
pawl_status pawl_view_item_backup(const pawl_view *view, size_t row, pawl_backup *backup);

/* Why something was not done, in `count` of PAWL_EVENT_BACKUP_REFUSED. */
#define PAWL_REFUSED_OFF 1
#define PAWL_REFUSED_EXISTS 2      /* there is a version already: reset, or recover its secret if it is this one */
#define PAWL_REFUSED_ENDLESS 3     /* the server shows ever more versions to be deleted */
#define PAWL_REFUSED_GENERATION 4  /* there is no higher generation */
#define PAWL_REFUSED_UNASKED 5     /* a secret from somebody who is not verified, or that nobody asked for */
#define PAWL_REFUSED_WRONG_KEY 6   /* not the secret of the version that the server has */
#define PAWL_REFUSED_NO_BACKUP 7   /* the server has no version that it could be of */
#define PAWL_REFUSED_ROLLED_BACK 8 /* of a version older than one that was seen: see PAWL_BACKUP_OLDER */
#define PAWL_REFUSED_TOO_MANY 9    /* secrets that wait, or fetches */
#define PAWL_REFUSED_NOT_READY 10  /* no version is active */
#define PAWL_REFUSED_MISSING 11    /* the item is not there; it is not asked for again for a while, which grows */

/* What is wrong with what a server shows, in `count` of PAWL_EVENT_BACKUP_FINDING. While another account uploads, one of it
 * can mean that only. */
#define PAWL_FINDING_ROLLED_BACK 1   /* a writer's manifest is older than one that is known */
#define PAWL_FINDING_FORKED 2        /* there are two of one number: a store of this writer was put back to an old copy */
#define PAWL_FINDING_WITHHELD 3      /* a writer's manifest is known and not shown */
#define PAWL_FINDING_LISTING 4       /* what a writer listed is not what its manifest says */
#define PAWL_FINDING_OMITTED 5       /* nothing is where a writer put an item */
#define PAWL_FINDING_OLDER 6         /* something worse is there, from an older state */
#define PAWL_FINDING_SWAPPED 7       /* something else of this writer is there */
#define PAWL_FINDING_INSERTED 8      /* its writer knows nothing of it */
#define PAWL_FINDING_UNLISTED 9      /* newer than its writer's manifest, or the manifest is withheld */
#define PAWL_FINDING_UNDECRYPTABLE 10 /* not sealed for its place with this secret */
#define PAWL_FINDING_MALFORMED 11

#define PAWL_RESTORE_ACCEPT_OLDER 1 /* if no version is active, from an older one that is offered */

/* Fetches all that the active version has, page by page, or goes on where that was stopped. What is here and as good stays:
 * a credential that was updated as late, history that reaches as far back. Credentials come back of scopes that this account
 * includes: see pawl_backup_include. Nothing is uploaded until it is over or stopped, unless it fails again and again. PAWL_STATE_BATCH:
 * a store with a vault. Since ABI 1. */
pawl_status pawl_backup_restore(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE], uint32_t flags);
/* Stops it after the page that is on its way. Since ABI 1. */
pawl_status pawl_backup_stop_restore(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE]);
/* Fetches one credential, or both directions of an epoch; nothing is done if it is asked for already. PAWL_STATE_BACKUP: no
 * version is active. PAWL_STATE_BATCH: a store with a vault. Since ABI 1. */
pawl_status pawl_backup_fetch_credential(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                                         const pawl_scope *scope, const void *name, size_t name_size);
pawl_status pawl_backup_fetch_history(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE],
                                      const uint8_t session[PAWL_SESSION_ID_SIZE], uint32_t epoch);

/* The secret from another account of the same user. This one asks (PAWL_REQUEST_BACKUP_SECRET, which names a number), the
 * host tells the others, the user agrees on one of them, it writes what pawl_backup_share gives for that number into a
 * message of its session with this one, and this one hands the message's text to pawl_backup_receive. Both must have
 * verified each other (pawl_peer_trust). Since ABI 1. */
pawl_status pawl_backup_ask(pawl_store *store, const uint8_t account[PAWL_ACCOUNT_ID_SIZE]);
#define PAWL_BACKUP_SHARE_SIZE 49
/* Whoever has these bytes has the backup. `session`: where they are to be sent, which must be with a verified peer:
 * PAWL_STATE_IDENTITY. PAWL_STATE_BACKUP: no version is active. PAWL_NOT_FOUND: no such session. Since ABI 1. */
pawl_status pawl_backup_share(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], uint64_t request,
                              uint8_t out[PAWL_BACKUP_SHARE_SIZE]);
/* A text that came over `session`. It is kept until the server was asked which version is current, and judged by the answer:
 * see PAWL_REFUSED_*. PAWL_CORRUPT: it is not what pawl_backup_share writes. PAWL_STATE_BACKUP: no backup was ever
 * wanted here. PAWL_NOT_FOUND: no such session. Since ABI 1. */
pawl_status pawl_backup_receive(pawl_store *store, const uint8_t session[PAWL_SESSION_ID_SIZE], const void *bytes,
                                size_t size);

/* What a PAWL_REQUEST_BACKUP_* item asks for. */
typedef struct pawl_backup_request {
    uint32_t struct_size;
    uint32_t what; /* PAWL_REQUEST_BACKUP_* */
    const uint8_t *version; /* the server's own number of the version, as it was answered; empty: it is about none */
    size_t version_size;
    const uint8_t *body; /* _CREATE: the version's bytes, for the server to keep; _ESCROW: a recovery key as text; _PAGE: the
                            cursor that the last page's answer gave, empty: the first page; else empty */
    size_t body_size;
    size_t entry_count; /* _PUT: how many there are */
    uint8_t place[PAWL_BACKUP_PLACE_SIZE]; /* _ITEM */
} pawl_backup_request;

/* What a server has at a place. Of two at one place it keeps the one whose first is lower, or else whose order is (of that
 * the highest two bits matter, the others make it the same one everywhere), and of two that are alike in both the one that
 * is there. Who writes a server finds both in the bytes: pawl_backup_entry_rank. */
typedef struct pawl_backup_entry {
    uint32_t struct_size;
    uint32_t first; /* below 2^31, as the other; both may be zero in a reply */
    uint32_t order;
    uint32_t flags; /* must be 0 */
    uint8_t place[PAWL_BACKUP_PLACE_SIZE];
    const uint8_t *bytes;
    size_t bytes_size;
} pawl_backup_entry;

pawl_status pawl_view_item_backup_request(const pawl_view *view, size_t row, pawl_backup_request *request);
/* `index` below entry_count, in any order. PAWL_MISUSE_ROW. */
pawl_status pawl_view_item_backup_entry(const pawl_view *view, size_t row, size_t index, pawl_backup_entry *entry);
/* Fills `first` and `order` by `bytes`. PAWL_CORRUPT: no entry. Since ABI 1. */
pawl_status pawl_backup_entry_rank(const void *bytes, size_t size, uint32_t *first, uint32_t *order);

/* How a request ended. */
#define PAWL_REPLY_DONE 0
#define PAWL_REPLY_WRONG_VERSION 1 /* the version is there, and not the current one any more */
#define PAWL_REPLY_NO_VERSION 2    /* there is no such version; to _VERSION: there is none at all */
#define PAWL_REPLY_NO_ITEM 3       /* nothing is at this place of the version */
#define PAWL_REPLY_RATE_LIMITED 4  /* later; until_ns, or 0 if the server does not say */
#define PAWL_REPLY_FAILED 5        /* anything else: it is tried again later */

typedef struct pawl_backup_reply {
    uint32_t struct_size;
    uint32_t result; /* PAWL_REPLY_* */
    int64_t until_ns;
    uint64_t count;      /* _VERSION, _PUT: entries that the server has in the version */
    const void *version; /* _VERSION, _CREATE: the server's number of it, 1-64 bytes of UTF-8 without NUL */
    size_t version_size;
    const void *body; /* _VERSION: the bytes that it was made of; _PAGE: the next page's cursor, at most 64 bytes, empty:
                         this was the last one */
    size_t body_size;
    const pawl_backup_entry *entries; /* _PAGE, _ITEM; all of one struct_size */
    size_t entry_count;               /* at most 10000 */
    /* NULL, or asked between two entries, by the thread of the call and under no lock: anything but 0 ends the call there, as
     * closing the store does. For a host that closes a store when all of its calls have come back. */
    int32_t (*is_closing)(void *context);
    void *context;
} pawl_backup_reply;

/* Answers a request and settles it. What was fetched is checked, opened and kept, some entries at a time. While others use
 * the same handle it gives way: one entry in 10 ms, about, so that who sends does not wait for it. What is answered
 * twice, or is not wanted any more, changes nothing. An answer that makes no sense counts as PAWL_REPLY_FAILED; bytes of
 * a current version that are none of Pawl's are another program's backup, which a create or delete leaves alone
 * (PAWL_REFUSED_EXISTS, _NO_BACKUP). PAWL_NOT_FOUND: no item ever had this number. PAWL_MISUSE_FLAGS: not a backup's
 * request. PAWL_CLOSED: the store is being closed, or is_closing says so; the rest of the answer is asked for again.
 * PAWL_STATE_BATCH: entries given to a batch. Since ABI 1. */
pawl_status pawl_backup_answer(pawl_store *store, uint64_t seq, const pawl_backup_reply *reply);

#ifdef __cplusplus
}
#endif

#endif /* PAWL_H */

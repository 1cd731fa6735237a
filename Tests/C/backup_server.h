/* A server of backups in memory, which children share: a child may die at any point of a call. It stores what it is given,
 * keeps the better of two at one place, and knows nothing. Needs no harness, so that benchmarks can use it, too. */
#ifndef PAWL_TEST_BACKUP_SERVER_H
#define PAWL_TEST_BACKUP_SERVER_H

#include <pawl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SERVER_VERSIONS 256
#define SERVER_PAGE_MAX 10000

typedef struct kept_entry {
    uint8_t place[PAWL_BACKUP_PLACE_SIZE];
    uint32_t first, order;
    size_t size;
    uint8_t bytes[];
} kept_entry;

typedef struct kept_version {
    char number[16];
    uint8_t body[256];
    size_t body_size;
    int is_deleted;
    size_t count;
    kept_entry **slots; /* by place, one behind the other where two meet */
} kept_version;

typedef struct backup_server backup_server;
struct backup_server {
    size_t slots, page, used, room;
    uint8_t *memory;
    int count; /* of versions ever made */
    kept_version versions[SERVER_VERSIONS];
    char escrow[PAWL_RECOVERY_SIZE_MAX]; /* the last recovery key that was put away */
    long asked[16];                      /* by PAWL_REQUEST_BACKUP_* */
    uint64_t secret_request;             /* the number that the last one named */
    /* The next `refusals` requests of this kind (0: of any) end so, and nothing is done. */
    uint32_t refused, refuse_with;
    int refusals;
    int64_t refuse_until;
    /* Has a look at what is to be answered. */
    void (*meddle)(backup_server *server, const pawl_backup_request *request, pawl_backup_reply *reply);
    char cursor[32];
    pawl_backup_entry entries[SERVER_PAGE_MAX];
};

static inline void *server_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    return memory;
}

/* Room for so many bytes in all, and for `slots` entries in a version, a power of two and more than will come. */
static inline backup_server *server_new(size_t slots, size_t room) {
    backup_server *server = server_memory(sizeof *server);
    server->slots = slots;
    server->page = 100;
    server->room = room;
    server->memory = server_memory(room);
    return server;
}

static inline void server_end(backup_server *server) {
    munmap(server->memory, server->room);
    munmap(server, sizeof *server);
}

static inline void *server_take(backup_server *server, size_t size) {
    size = (size + 15) & ~(size_t)15;
    if (server->room - server->used < size) abort();
    server->used += size;
    return server->memory + server->used - size;
}

/* The newest that is there; NULL: none. */
static inline kept_version *server_current(backup_server *server) {
    for (int i = server->count; i-- > 0;) {
        if (!server->versions[i].is_deleted) return server->versions + i;
    }
    return NULL;
}

static inline kept_version *server_version(backup_server *server, const void *number, size_t size) {
    for (int i = 0; i < server->count; i++) {
        kept_version *version = server->versions + i;
        if (!version->is_deleted && strlen(version->number) == size && memcmp(version->number, number, size) == 0)
            return version;
    }
    return NULL;
}

static inline kept_version *server_create(backup_server *server, const void *body, size_t size) {
    if (server->count == SERVER_VERSIONS || size > sizeof server->versions[0].body) abort();
    kept_version *version = server->versions + server->count;
    memset(version, 0, sizeof *version);
    snprintf(version->number, sizeof version->number, "%d", server->count + 1);
    memcpy(version->body, body, size);
    version->body_size = size;
    version->slots = server_take(server, server->slots * sizeof(kept_entry *));
    __sync_synchronize();
    server->count++;
    return version;
}

/* Where the entry of a place is, or would be. */
static inline kept_entry **server_slot(backup_server *server, kept_version *version, const uint8_t *place) {
    uint64_t at = 0;
    memcpy(&at, place, sizeof at);
    for (size_t i = 0; i < server->slots; i++) {
        kept_entry **slot = version->slots + ((at + i) & (server->slots - 1));
        if (*slot == NULL || memcmp((*slot)->place, place, PAWL_BACKUP_PLACE_SIZE) == 0) return slot;
    }
    abort();
}

/* Whatever is there, which may be nothing. */
static inline void server_set(backup_server *server, kept_version *version, const uint8_t *place, const void *bytes,
                              size_t size) {
    kept_entry **slot = server_slot(server, version, place), *entry = server_take(server, sizeof *entry + size);
    memcpy(entry->place, place, sizeof entry->place);
    entry->first = entry->order = 0;
    (void)pawl_backup_entry_rank(bytes, size, &entry->first, &entry->order);
    entry->size = size;
    memcpy(entry->bytes, bytes, size);
    __sync_synchronize();
    if (*slot == NULL) version->count++;
    *slot = entry;
}

static inline void server_put(backup_server *server, kept_version *version, const pawl_backup_entry *entry) {
    const kept_entry *old = *server_slot(server, version, entry->place);
    if (old == NULL || entry->first < old->first || (entry->first == old->first && entry->order < old->order))
        server_set(server, version, entry->place, entry->bytes, entry->bytes_size);
}

static inline pawl_backup_entry server_show(const kept_entry *entry) {
    pawl_backup_entry row = PAWL_INIT(pawl_backup_entry);
    memcpy(row.place, entry->place, sizeof row.place);
    row.first = entry->first;
    row.order = entry->order;
    row.bytes = entry->bytes;
    row.bytes_size = entry->size;
    return row;
}

static inline void server_page(backup_server *server, kept_version *version, const void *cursor, size_t size,
                               pawl_backup_reply *reply) {
    char text[32] = "";
    memcpy(text, cursor, size < sizeof text ? size : 0);
    size_t at = (size_t)strtoull(text, NULL, 10);
    while (at < server->slots && reply->entry_count < server->page) {
        const kept_entry *entry = version->slots[at++];
        if (entry != NULL) server->entries[reply->entry_count++] = server_show(entry);
    }
    while (at < server->slots && version->slots[at] == NULL) at++;
    reply->entries = server->entries;
    if (at == server->slots) return;
    reply->body = server->cursor;
    reply->body_size = (size_t)snprintf(server->cursor, sizeof server->cursor, "%zu", at);
}

/* Carries out what a row of the outbox asks for. What the reply points to is good until the next call. */
static inline pawl_status server_carry_out(backup_server *server, const pawl_view *items, size_t row,
                                           pawl_backup_reply *reply) {
    pawl_backup_request request = PAWL_INIT(pawl_backup_request);
    pawl_status status = pawl_view_item_backup_request(items, row, &request);
    if (status != PAWL_OK) return status;
    *reply = (pawl_backup_reply)PAWL_INIT(pawl_backup_reply);
    server->asked[request.what & 15]++;
    if (server->refusals > 0 && (server->refused == 0 || server->refused == request.what)) {
        server->refusals--;
        reply->result = server->refuse_with;
        reply->until_ns = server->refuse_until;
        return PAWL_OK;
    }
    kept_version *current = server_current(server), *version = current;
    if (request.version_size > 0) version = server_version(server, request.version, request.version_size);
    switch (request.what) {
    case PAWL_REQUEST_BACKUP_ESCROW:
        if (request.body_size >= sizeof server->escrow) abort();
        memcpy(server->escrow, request.body, request.body_size);
        server->escrow[request.body_size] = 0;
        break;
    case PAWL_REQUEST_BACKUP_CREATE:
        version = server_create(server, request.body, request.body_size);
        break;
    default:
        if (version == NULL) reply->result = PAWL_REPLY_NO_VERSION;
    }
    if (reply->result == PAWL_REPLY_DONE) {
        switch (request.what) {
        case PAWL_REQUEST_BACKUP_VERSION:
            reply->body = version->body;
            reply->body_size = version->body_size;
            reply->count = version->count;
            /* fall through */
        case PAWL_REQUEST_BACKUP_CREATE:
            reply->version = version->number;
            reply->version_size = strlen(version->number);
            break;
        case PAWL_REQUEST_BACKUP_DELETE:
            version->is_deleted = 1;
            break;
        case PAWL_REQUEST_BACKUP_PUT:
            if (version != current) reply->result = PAWL_REPLY_WRONG_VERSION;
            for (size_t i = 0; version == current && i < request.entry_count; i++) {
                pawl_backup_entry entry = PAWL_INIT(pawl_backup_entry);
                if ((status = pawl_view_item_backup_entry(items, row, i, &entry)) != PAWL_OK) return status;
                server_put(server, version, &entry);
            }
            reply->count = version->count;
            break;
        case PAWL_REQUEST_BACKUP_PAGE:
            server_page(server, version, request.body, request.body_size, reply);
            break;
        case PAWL_REQUEST_BACKUP_ITEM: {
            const kept_entry *entry = *server_slot(server, version, request.place);
            if (entry == NULL) {
                reply->result = PAWL_REPLY_NO_ITEM;
            } else {
                server->entries[0] = server_show(entry);
                reply->entries = server->entries;
                reply->entry_count = 1;
            }
            break;
        }
        default: break;
        }
    }
    if (server->meddle != NULL) server->meddle(server, &request, reply);
    return PAWL_OK;
}

#endif

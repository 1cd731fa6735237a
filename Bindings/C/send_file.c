/* send_file STORE SOCKET PACKAGE FILE [TRACE]: Alice sends a file to Bob over a socket that may lose, repeat and reorder
 * what it carries. The other end is Bindings/Python/examples/receive_file.py. Killed anywhere and started again, it goes on.
 *
 * The messages wait in the outbox, which lends them out: those that Bob does not acknowledge while they are lent come
 * again by themselves. While they flow, both sides ask for new keys at the same instants; what that takes goes through
 * the outbox, too. TRACE is a file that gets a line for each step of it. The file PACKAGE stands for the server that hands out Bob's key packages. Before trusting what
 * arrives through it, Alice and Bob compare safety numbers: see safety_number.c. The store's passphrase comes
 * from the environment variable PAWL_PASSPHRASE.
 */
#define _DEFAULT_SOURCE /* for getentropy */
#include <errno.h>
#include <pawl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    ID = 8,          /* of a transfer: random bytes */
    HEADER = ID + 8, /* of a message: id, number of this chunk, number of chunks, both little endian */
    CHUNK = 4096,
    WINDOW = 8,    /* messages under way at once */
    PATIENCE = 30, /* seconds without an acknowledgement */
    PACKET_MAX = 65536
};
static const int64_t LEASE = 100000000; /* 0.1 seconds: more than a message and its acknowledgement take */
/* New keys whenever the clock shows a multiple of this. Keys of late messages live for 8 epochs: a message that was lost
 * must have come again by then. */
static const int64_t REKEY = 100000000;
static const uint64_t NOT_QUEUED = UINT64_MAX;

static pawl_store *store;
static uint8_t account[PAWL_ACCOUNT_ID_SIZE], session[PAWL_SESSION_ID_SIZE];
static FILE *trace;

/* What is being sent, and what is known of it, stored as a credential under the file's name so that a new process finds
 * it: record[0] is the transfer's id, record[1 + i] the number of the outbox item that carries chunk i, 0 once it has
 * arrived. */
static uint8_t *content;
static size_t content_size;
static uint64_t *record;
static size_t chunks, missing;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "send_file: %s: %s\n", what, why);
    exit(1);
}

static void check(pawl_status status, const char *what) {
    if (status == PAWL_OK) return;
    fprintf(stderr, "send_file: %s: %s: %s\n", what, pawl_status_name(status), pawl_status_text(status));
    exit(1);
}

static void check_system(int good, const char *what) {
    if (!good) fail(what, strerror(errno));
}

static void *allocate(size_t size) {
    void *memory = malloc(size);
    check_system(memory != NULL, "memory");
    return memory;
}

static void open_store(const char *path) {
    const char *passphrase = getenv("PAWL_PASSPHRASE");
    if (passphrase == NULL) fail("PAWL_PASSPHRASE", "set it to the store's passphrase");
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_PASSPHRASE;
    key.secret = passphrase;
    key.secret_size = strlen(passphrase);
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE;
    options.path = path;
    options.path_size = strlen(path);
    options.key = &key;
    check(pawl_store_open(&options, &store), "open");
}

static void find_account(void) {
    pawl_view *accounts = NULL;
    check(pawl_account_list(store, NULL, 1, &accounts), "accounts");
    if (pawl_view_count(accounts) > 0) {
        pawl_account row = PAWL_INIT(pawl_account);
        check(pawl_view_account(accounts, 0, &row), "row");
        memcpy(account, row.id, sizeof account);
    } else {
        check(pawl_account_create(store, "alice", 5, account), "account");
    }
    pawl_view_close(accounts);
}

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    check_system(file != NULL && fseek(file, 0, SEEK_END) == 0, path);
    long end = ftell(file);
    check_system(end >= 0 && fseek(file, 0, SEEK_SET) == 0, path);
    uint8_t *bytes = allocate((size_t)end + 1);
    *size = fread(bytes, 1, (size_t)end, file);
    check_system(*size == (size_t)end && fclose(file) == 0, path);
    return bytes;
}

/* The session to send in: the one that there is, or a new one from Bob's package. */
static void find_session(const char *package) {
    pawl_view *view = NULL;
    pawl_peer bob = PAWL_INIT(pawl_peer);
    pawl_status status = pawl_peer_get(store, account, "bob", 3, &view);
    if (status != PAWL_NOT_FOUND) {
        check(status, "peer");
        check(pawl_view_peer(view, 0, &bob), "row");
        memcpy(session, bob.session, sizeof bob.session);
        pawl_view_close(view);
    }
    if (bob.flags & PAWL_PEER_HAS_SESSION) return;
    pawl_start_options start = PAWL_INIT(pawl_start_options);
    start.peer_name = "bob";
    start.peer_name_size = 3;
    uint8_t *bytes = read_file(package, &start.package_size);
    start.package = bytes;
    check(pawl_session_start(store, account, &start, session), "start");
    free(bytes);
}

static int64_t now_ns(void) {
    struct timespec time;
    check_system(clock_gettime(CLOCK_REALTIME, &time) == 0, "clock");
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void note_step(void *context, const pawl_step *step) {
    (void)context;
    fprintf(trace, "%lld %u %u %u %u ", (long long)now_ns(), step->event, step->from, step->to, step->target);
    for (size_t i = 0; i < sizeof step->offer; i++) fprintf(trace, "%02x", step->offer[i]);
    fprintf(trace, " %u\n", step->constructor);
    fflush(trace);
}

static void put_number(uint8_t *to, size_t value) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> 8 * i);
}

static void begin_transfer(void) {
    chunks = content_size / CHUNK + 1; /* the last one may be empty */
    record = allocate((1 + chunks) * sizeof *record);
    check_system(getentropy(&record[0], ID) == 0, "random");
    for (size_t i = 0; i < chunks; i++) record[1 + i] = NOT_QUEUED;
}

/* Goes on with what an earlier process began, if it did. */
static int resume(const pawl_scope *scope, const char *name) {
    pawl_view *view = NULL;
    pawl_status status = pawl_credential_get(store, scope, name, strlen(name), &view);
    if (status == PAWL_NOT_FOUND) return 0;
    check(status, "get");
    pawl_credential found = PAWL_INIT(pawl_credential);
    check(pawl_view_credential(view, 0, &found), "row");
    chunks = found.secret_size / sizeof *record - 1;
    record = allocate(found.secret_size);
    memcpy(record, found.secret, found.secret_size);
    pawl_view_close(view);
    if (chunks != content_size / CHUNK + 1) fail(name, "it has changed since its transfer began");
    return 1;
}

/* Encrypts the next messages, no more than may be under way. One transaction: messages and the record of them are in the
 * store, or neither. */
static void queue_chunks(const pawl_scope *scope, const char *name) {
    size_t under_way = 0, next = 0;
    for (size_t i = 0; i < chunks; i++) under_way += record[1 + i] != 0 && record[1 + i] != NOT_QUEUED;
    while (next < chunks && record[1 + next] != NOT_QUEUED) next++;
    if (next == chunks || under_way > WINDOW / 2) return;

    uint8_t message[HEADER + CHUNK];
    pawl_store *batch = NULL;
    check(pawl_batch_begin(store, &batch), "batch");
    for (; next < chunks && under_way < WINDOW; next++, under_way++) {
        size_t length = next + 1 < chunks ? CHUNK : content_size % CHUNK;
        memcpy(message, &record[0], ID);
        put_number(message + ID, next);
        put_number(message + ID + 4, chunks);
        memcpy(message + HEADER, content + next * CHUNK, length);
        check(pawl_session_send(batch, session, message, HEADER + length, &record[1 + next]), "send");
    }
    check(pawl_credential_put(batch, scope, name, strlen(name), record, (1 + chunks) * sizeof *record, NULL, NULL),
          "put");
    check(pawl_batch_commit(batch), "commit");
}

static int is_chunk(uint64_t seq) {
    for (size_t i = 0; i < chunks; i++)
        if (record[1 + i] == seq) return 1;
    return 0;
}

/* Does what the store wants done. A message is not settled when it left, but when Bob says that he has it; a frame without
 * one is, as the schedule says again what is lost of it. */
static void work(int link, const char *package) {
    size_t ran = 0;
    do check(pawl_store_run_due(store, 100, &ran, NULL), "run due");
    while (ran == 100);

    pawl_view *items = NULL;
    check(pawl_outbox_take(store, WINDOW, LEASE, &items), "take");
    for (size_t row = 0; row < pawl_view_count(items); row++) {
        pawl_item item = PAWL_INIT(pawl_item);
        check(pawl_view_item(items, row, &item), "row");
        if (item.kind == PAWL_ITEM_FRAME) {
            if (send(link, item.body, item.body_size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
                check_system(errno == EAGAIN || errno == EWOULDBLOCK, "link");
                check(pawl_outbox_fail(store, item.seq, LEASE), "fail"); /* not now, so later */
            } else if (!is_chunk(item.seq)) {
                check(pawl_outbox_ack(store, &item.seq, 1), "ack");
            }
        } else if (item.kind == PAWL_ITEM_REQUEST && item.what == PAWL_REQUEST_PACKAGE) {
            size_t size = 0;
            uint8_t *bytes = read_file(package, &size);
            check(pawl_outbox_answer(store, item.seq, bytes, size), "answer");
            free(bytes);
        } else {
            /* What Bob says may get lost for good: he says it all again. */
            if (item.what != PAWL_EVENT_EPOCH && item.what != PAWL_EVENT_LOST)
                fprintf(stderr, "send_file: event %u about %.*s\n", item.what, (int)item.peer_name_size,
                        (const char *)item.peer_name);
            check(pawl_outbox_ack(store, &item.seq, 1), "ack");
        }
    }
    pawl_view_close(items);
}

/* Bob says which chunks he has: the transfer's id, then a bit for each. Such a message may get lost, as he says it all
 * again in the next one. Returns how many of them are news. */
static size_t hear(const uint8_t *packet, size_t packet_size) {
    static uint8_t text[PACKET_MAX];
    size_t size = 0, count = 0;
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.bytes = packet;
    frame.size = packet_size;
    pawl_received received = PAWL_INIT(pawl_received);
    pawl_status status = pawl_account_receive(store, account, &frame, text, sizeof text, &size, &received);
    if (status == PAWL_REPLAY) return 0; /* the link repeated it */
    if (status != PAWL_OK) {             /* anybody can send anything */
        fprintf(stderr, "send_file: a frame was refused: %s\n", pawl_status_name(status));
        return 0;
    }
    if (size != ID + (chunks + 7) / 8 || memcmp(text, &record[0], ID) != 0) return 0;
    uint64_t done[10000];
    for (size_t i = 0; i < chunks && count < 10000; i++) {
        if (record[1 + i] == 0 || record[1 + i] == NOT_QUEUED || (text[ID + i / 8] >> i % 8 & 1) == 0) continue;
        done[count++] = record[1 + i];
        record[1 + i] = 0;
    }
    check(pawl_outbox_ack(store, done, count), "ack");
    missing -= count;
    return count;
}

int main(int argc, char **argv) {
    if (argc != 5 && argc != 6) fail("usage", "send_file STORE SOCKET PACKAGE FILE [TRACE]");
    const char *package = argv[3], *name = argv[4];
    open_store(argv[1]);
    find_account();
    if (argc == 6) {
        trace = fopen(argv[5], "a");
        check_system(trace != NULL, argv[5]);
        pawl_trace tracing = PAWL_INIT(pawl_trace);
        tracing.step = note_step;
        check(pawl_store_trace(store, &tracing), "trace");
    }
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "alice";
    scope.user_size = 5;
    scope.project = "transfers";
    scope.project_size = 9;
    content = read_file(name, &content_size);
    if (!resume(&scope, name)) begin_transfer();
    find_session(package);
    for (size_t i = 0; i < chunks; i++) missing += record[1 + i] != 0;

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[2]);
    int link = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    check_system(link >= 0 && connect(link, (struct sockaddr *)&address, sizeof address) == 0, argv[2]);
    int32_t due = 0;
    check(pawl_store_fd(store, &due), "descriptor");

    time_t heard = time(NULL);
    int64_t rekey = (now_ns() / REKEY + 1) * REKEY;
    while (missing > 0) {
        queue_chunks(&scope, name);
        struct pollfd ready[2] = {{.fd = due, .events = POLLIN}, {.fd = link, .events = POLLIN}};
        int64_t left = rekey - now_ns();
        check_system(poll(ready, 2, left > 0 ? (int)(left / 1000000) : 0) >= 0, "poll");
        if (now_ns() >= rekey) {
            uint32_t epoch = 0;
            check(pawl_session_rekey(store, session, 0, &epoch), "rekey");
            rekey = (now_ns() / REKEY + 1) * REKEY;
        }
        if (time(NULL) - heard > PATIENCE) fail("bob", "no answer");
        if (ready[0].revents) work(link, package);
        if (ready[1].revents) {
            static uint8_t packet[PACKET_MAX];
            ssize_t size = recv(link, packet, sizeof packet, 0);
            check_system(size >= 0, "link");
            if (size == 0) fail("link", "closed");
            if (hear(packet, (size_t)size) > 0) heard = time(NULL);
        }
    }
    check(pawl_credential_delete(store, &scope, name, strlen(name), 0), "delete");
    printf("%s: %zu messages, all acknowledged\n", name, chunks);
    free(record);
    free(content);
    close(link);
    pawl_store_close(store);
    if (trace != NULL) fclose(trace);
    return 0;
}

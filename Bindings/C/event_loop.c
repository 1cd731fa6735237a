/* An event loop on a store: sends what is typed, and does what falls due, on one thread that sleeps until there is
 * something to do. The two ends of the session live in one store here, so that the example needs no network.
 *
 *     cc event_loop.c $(pkg-config --cflags --libs pawl) && echo hello | ./a.out
 */
#include <errno.h>
#include <pawl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static pawl_store *store;
static uint8_t ada[PAWL_ACCOUNT_ID_SIZE], bob[PAWL_ACCOUNT_ID_SIZE], session[PAWL_SESSION_ID_SIZE];

static void check(pawl_status status, const char *what) {
    if (status == PAWL_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, pawl_status_name(status), pawl_status_text(status));
    exit(1);
}

static void set_up(void) {
    const uint8_t secret[32] = "not so: yours are random bytes";
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RAW;
    key.secret = secret;
    key.secret_size = sizeof secret;
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    check(pawl_store_open(&options, &store), "open");

    check(pawl_account_create(store, "ada", 3, ada), "account");
    check(pawl_account_create(store, "bob", 3, bob), "account");
    pawl_package_options wanted = PAWL_INIT(pawl_package_options);
    pawl_view *packages = NULL;
    pawl_package package = PAWL_INIT(pawl_package);
    check(pawl_package_create(store, bob, &wanted, &packages), "package");
    check(pawl_view_package(packages, 0, &package), "row");
    pawl_start_options start = PAWL_INIT(pawl_start_options);
    start.peer_name = "bob";
    start.peer_name_size = 3;
    start.package = package.bytes;
    start.package_size = package.bytes_size;
    check(pawl_session_start(store, ada, &start, session), "start");
    pawl_view_close(packages);
}

/* Where a program would hand the frame to its network. Whatever is not 0 is tried again later. */
static int deliver(const pawl_item *item) {
    pawl_frame frame = PAWL_INIT(pawl_frame);
    frame.bytes = item->body;
    frame.size = item->body_size;
    uint8_t *text = malloc(item->body_size);
    size_t size = 0;
    pawl_received received = PAWL_INIT(pawl_received);
    pawl_status status = pawl_account_receive(store, bob, &frame, text, item->body_size, &size, &received);
    if (status == PAWL_OK) printf("bob got: %.*s\n", (int)size, (const char *)text);
    free(text);
    return status != PAWL_OK;
}

/* The store's descriptor is readable: run what is due until there is no more, then hand out what waits. */
static void work(void) {
    enum { many = 100 };
    size_t ran = 0;
    do check(pawl_store_run_due(store, many, &ran, NULL), "run due");
    while (ran == many);

    for (size_t count = 1; count > 0;) {
        pawl_view *items = NULL;
        check(pawl_outbox_take(store, many, 0, &items), "take");
        count = pawl_view_count(items);
        for (size_t row = 0; row < count; row++) {
            pawl_item item = PAWL_INIT(pawl_item);
            check(pawl_view_item(items, row, &item), "row");
            if (item.kind == PAWL_ITEM_FRAME && deliver(&item) != 0) {
                check(pawl_outbox_fail(store, item.seq, 0), "fail");
            } else {
                check(pawl_outbox_ack(store, &item.seq, 1), "ack");
            }
        }
        pawl_view_close(items);
    }
}

/* 0 at the end of the input. */
static int read_line(void) {
    char line[1000];
    ssize_t size = read(STDIN_FILENO, line, sizeof line);
    if (size <= 0) return 0;
    if (line[size - 1] == '\n') size--;
    check(pawl_session_send(store, session, line, (size_t)size, NULL), "send");
    return 1;
}

int main(void) {
    set_up();
    int32_t fd = 0;
    check(pawl_store_fd(store, &fd), "descriptor");
    int loop = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    int bad = epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0;
    /* A file that always can be read is no matter for epoll: then it is read at once. */
    event.data.fd = STDIN_FILENO;
    int waits = epoll_ctl(loop, EPOLL_CTL_ADD, STDIN_FILENO, &event) == 0;
    while (!waits && read_line()) {}
    work();
    while (waits && !bad) {
        int ready = epoll_wait(loop, &event, 1, -1);
        if (ready < 0 && errno == EINTR) continue;
        bad = ready != 1;
        if (event.data.fd == fd) {
            work();
        } else {
            waits = read_line();
        }
    }
    work();
    /* First out of the loop, then closed. */
    epoll_ctl(loop, EPOLL_CTL_DEL, fd, NULL);
    pawl_store_close(store);
    close(loop);
    return bad;
}

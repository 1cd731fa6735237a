/* peer_pawl: Pawl through the C interface. */
#include "pair.h"
#include "peers.h"

static int where, is_perfect;
static pawl_view *published;
static pawl_delivery deliveries[BLOCK_MAX];

static void open_pawl(int on_disk) {
    where = on_disk;
    open_pair(on_disk);
}

static size_t decrypt(int side, const uint8_t *message, size_t size, uint8_t *plain) {
    return receive(side, message, size, plain, NULL);
}

/* Each message waits for an epoch of its own. */
static void turn(int side) {
    pawl_rekey_limits limits = PAWL_INIT(pawl_rekey_limits);
    limits.flags = PAWL_LIMITS_PERFECT;
    for (int i = 0; i < 2 && !is_perfect; i++)
        must(pawl_session_set_limits(stores[i], sessions[i], &limits), "limits");
    is_perfect = 1;
    must(pawl_session_send(stores[side], sessions[side], text, SMALL, NULL), "send");
    while (deliver(side) == 0) deliver(1 - side);
}

/* An account lets few strangers wait, so each block has stores of its own. */
static void publish_anew(size_t count) {
    if (published != NULL) pawl_view_close(published);
    close_pair();
    open_pair(where);
    published = initiators_of(count);
}

static void set_up_one(size_t i) { set_up(published, i); }

static void set_up_groups(void) {
    for (size_t i = 0; i < this_row->block; i += GROUP) set_up_together(published, i, GROUP);
}

static void fill_deliveries(void) {
    encrypt_block();
    for (size_t i = 0; i < this_row->block; i++) {
        if (deliveries[i].out == NULL) deliveries[i].out = calloc(1, 65536 + OVERHEAD_MAX);
        uint8_t *out = deliveries[i].out;
        deliveries[i] = (pawl_delivery)PAWL_INIT(pawl_delivery);
        deliveries[i].frame = messages[i];
        deliveries[i].frame_size = message_sizes[i];
        deliveries[i].out = out;
        deliveries[i].out_size = this_row->size + OVERHEAD_MAX;
    }
}

static void receive_many(void) {
    must(pawl_account_receive_many(stores[1], accounts[1], deliveries, this_row->block), "receive_many");
    for (size_t i = 0; i < this_row->block; i++) must(deliveries[i].status, "delivery");
}

static void rekey_block(void) {
    for (size_t i = 0; i < this_row->block; i++) rekey((int)(i % 2));
}

/* What credential calls cost without a disk, next to the same in Python. */
static const char *name_of(size_t i) {
    static char name[32];
    snprintf(name, sizeof name, "secret/%08zu", i * 7 % 1000);
    return name;
}

static pawl_scope ada(void) {
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = "user";
    scope.user_size = 4;
    return scope;
}

static void put_block(void) {
    pawl_scope scope = ada();
    for (size_t i = 0; i < this_row->block; i++)
        must(pawl_credential_put(stores[0], &scope, name_of(i), 15, text, 256, NULL, NULL), "put");
}

static void fill(void) {
    static int is_full;
    if (is_full++) return;
    pawl_scope scope = ada();
    for (size_t i = 0; i < 1000; i++)
        must(pawl_credential_put(stores[0], &scope, name_of(i), 15, text, 256, NULL, NULL), "put");
}

static void has_block(void) {
    pawl_scope scope = ada();
    int32_t has = 0;
    for (size_t i = 0; i < this_row->block; i++)
        must(pawl_credential_has(stores[0], &scope, name_of(i), 15, &has), "has");
}

static void get_block(void) {
    pawl_scope scope = ada();
    for (size_t i = 0; i < this_row->block; i++) {
        pawl_view *view = NULL;
        pawl_credential row = PAWL_INIT(pawl_credential);
        must(pawl_credential_get(stores[0], &scope, name_of(i), 15, &view), "get");
        must(pawl_view_credential(view, 0, &row), "row");
        pawl_view_close(view);
    }
}

static const row others[] = {
    {"receive_many_64_durable_per_s", 256, SMALL, 1, fill_deliveries, receive_many},
    {"receive_many_65536_durable_per_s", 256, 65536, 1, fill_deliveries, receive_many},
    {"rekey_rounds_per_s", 32, SMALL, 0, NULL, rekey_block},
    {"has_memory_per_s", 256, SMALL, 0, fill, has_block},
    {"get_memory_per_s", 256, SMALL, 0, fill, get_block},
    {"put_memory_per_s", 256, SMALL, 0, fill, put_block},
    {"setup_durable_per_s", QUOTA, SMALL, 1, publish_block, set_up_groups},
    {0},
};

static const struct library library = {
    .name = "pawl",
    .open = open_pawl,
    .close = close_pair,
    .keeps = 1,
    .late_max = BLOCK_MAX,
    .encrypt = encrypt,
    .decrypt = decrypt,
    .turn = turn,
    .publish = publish_anew,
    .set_up = set_up_one,
    .others = others,
};

int main(int count, char **wanted) { return run(count - 1, wanted + 1); }

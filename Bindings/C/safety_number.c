/* Two people make sure that nobody stands between them: each computes the safety number from the own
 * account and from what arrived in the other's name, and they compare it over the phone.
 *
 *     cc safety_number.c $(pkg-config --cflags --libs pawl) && ./a.out
 */
#include <pawl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(pawl_status status, const char *what) {
    if (status == PAWL_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, pawl_status_name(status), pawl_status_text(status));
    exit(1);
}

/* A store in memory, so that the example leaves nothing behind; see quickstart.c. The recovery key is
 * forgotten, as nothing could be opened with it later. */
static pawl_store *open_store(void) {
    char recovery[PAWL_RECOVERY_SIZE_MAX];
    size_t recovery_size = 0;
    check(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, recovery, sizeof recovery, &recovery_size),
          "recovery key");
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RECOVERY;
    key.secret = recovery;
    key.secret_size = recovery_size;
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE | PAWL_STORE_MEMORY;
    options.key = &key;
    pawl_store *store = NULL;
    check(pawl_store_open(&options, &store), "open");
    memset(recovery, 0, sizeof recovery);
    return store;
}

/* Creates an account and reads its public side. The identity's name points into the view: close the view
 * when done with both. The secret keys never leave the store. */
static pawl_view *create_account(pawl_store *store, const char *name, pawl_identity *identity) {
    uint8_t id[PAWL_ACCOUNT_ID_SIZE]; /* keep it: it is how the account is found again */
    check(pawl_account_create(store, name, strlen(name), id), "create");
    pawl_view *view = NULL;
    check(pawl_account_get(store, id, &view), "get");
    pawl_account account = PAWL_INIT(pawl_account);
    check(pawl_view_account(view, 0, &account), "row");
    memcpy(identity->signing_key, account.signing_key, sizeof identity->signing_key);
    memcpy(identity->agreement_key, account.agreement_key, sizeof identity->agreement_key);
    identity->name = account.name;
    identity->name_size = account.name_size;
    return view;
}

int main(void) {
    pawl_store *store = open_store();
    pawl_identity alice = PAWL_INIT(pawl_identity), bob = PAWL_INIT(pawl_identity);
    pawl_view *of_alice = create_account(store, "alice", &alice);
    pawl_view *of_bob = create_account(store, "bob", &bob);

    /* What Alice's screen shows, and what Bob's does. */
    char here[PAWL_SAFETY_NUMBER_SIZE], there[PAWL_SAFETY_NUMBER_SIZE];
    size_t size = 0;
    check(pawl_safety_number(&alice, &bob, here, sizeof here, &size), "safety number");
    check(pawl_safety_number(&bob, &alice, there, sizeof there, &size), "safety number");
    int same = strcmp(here, there) == 0;
    printf("alice sees %s\nbob sees   %s\n%s\n", here, there,
           same ? "The same: nobody stands between them." : "NOT the same: somebody does.");

    pawl_view_close(of_alice);
    pawl_view_close(of_bob);
    pawl_store_close(store);
    return same ? 0 : 1;
}

/* Archives: what is in them, who can read them, and that an import is all or nothing. */
#include "setups.h"

#define CHUNK (65536 + 17)
#define HEAD 101

typedef struct bytes {
    uint8_t *start;
    size_t size;
} bytes;

static pawl_key recovery(char text[PAWL_RECOVERY_SIZE_MAX]) {
    size_t size = 0;
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_BACKUP, text, PAWL_RECOVERY_SIZE_MAX, &size));
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_RECOVERY;
    key.secret = text;
    key.secret_size = size;
    return key;
}

static pawl_archive_report report_of(pawl_stream *stream) {
    pawl_archive_report report = PAWL_INIT(pawl_archive_report);
    MUST(pawl_stream_report(stream, &report));
    return report;
}

/* Reads an archive `step` bytes at a time. */
static bytes export_in(pawl_store *store, const pawl_scope *scope, uint32_t flags, const pawl_key *key, size_t step,
                       uint64_t want) {
    pawl_stream *stream = NULL;
    bytes all = {malloc(1 << 16), 0};
    size_t room = 1 << 16, size = 0;
    MUST(pawl_export_begin(store, scope, flags, key, &stream));
    do {
        if (all.size + step > room) all.start = realloc(all.start, room = 2 * room + step);
        MUST(pawl_stream_read(stream, all.start + all.size, step, &size));
        all.size += size;
    } while (size == step);
    MUST(pawl_stream_read(stream, all.start, 1, &size));
    CHECK(size == 0);
    CHECK(report_of(stream).credentials == want);
    ANSWERS(PAWL_MISUSE_HANDLE, pawl_stream_write(stream, "x", 1));
    ANSWERS(PAWL_MISUSE_HANDLE, pawl_stream_finish(stream));
    pawl_stream_close(stream);
    return all;
}

static bytes export_all(pawl_store *store, const pawl_key *key, uint64_t want) {
    return export_in(store, NULL, 0, key, 1000, want);
}

static pawl_status import_in(pawl_store *store, bytes archive, const pawl_key *key, size_t step,
                             pawl_archive_report *report) {
    pawl_stream *stream = NULL;
    pawl_status status = pawl_import_begin(store, key, &stream);
    if (status != PAWL_OK) return status;
    for (size_t at = 0; at < archive.size && status == PAWL_OK; at += step)
        status = pawl_stream_write(stream, archive.start + at, archive.size - at < step ? archive.size - at : step);
    if (status == PAWL_OK) status = pawl_stream_finish(stream);
    if (report != NULL) *report = report_of(stream);
    /* What ended stays ended. */
    CHECK(PAWL_STATUS_REASON(pawl_stream_finish(stream)) ==
          (status == PAWL_OK ? PAWL_CLOSED : PAWL_STATUS_REASON(status)));
    pawl_stream_close(stream);
    return status;
}

static pawl_status import_all(pawl_store *store, bytes archive, const pawl_key *key) {
    return import_in(store, archive, key, 1000, NULL);
}

static void all_comes_back(void) {
    pawl_store *from = open_file(fresh_path()), *to = open_file(fresh_path());
    pawl_scope ada = scope_of("ada", "home"), work = scope_of("ada", "work"), bob = scope_of("bob", "");
    const pawl_attribute attributes[] = {{"environment", 11, "production", 10}};
    pawl_put_options options = PAWL_INIT(pawl_put_options);
    options.flags = PAWL_PUT_SET_LABEL | PAWL_PUT_SET_ATTRIBUTES | PAWL_PUT_SET_EXPIRY;
    options.label = "a label";
    options.label_size = 7;
    options.attributes = attributes;
    options.attribute_count = 1;
    options.expires_ns = INT64_C(4000000000000000000);
    MUST(pawl_credential_put(from, &ada, "full", 4, "secret", 6, &options, NULL));
    MUST(put(from, &ada, "empty", ""));
    MUST(put(from, &work, "token", "t1"));
    MUST(put(from, &work, "token", "t2"));
    MUST(put(from, &bob, "gone", "x"));
    MUST(pawl_credential_delete(from, &bob, "gone", 4, 60 * SECOND));
    size_t sizes[] = {4096, 4097, 65535, 200000, 3 << 20};
    for (size_t i = 0; i < 5; i++) {
        char name[16];
        uint8_t *secret = malloc(sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++) secret[j] = (uint8_t)(j * 7 + i);
        snprintf(name, sizeof name, "large-%zu", i);
        MUST(pawl_credential_put(from, &bob, name, strlen(name), secret, sizes[i], NULL, NULL));
        free(secret);
    }
    char text[PAWL_RECOVERY_SIZE_MAX];
    pawl_key keys[] = {raw_key(), recovery(text), passphrase_key("correct horse")};
    keys[2].memory_size = PAWL_HASHING_MEMORY_MIN;
    for (size_t k = 0; k < 3; k++) {
        bytes archive = export_in(from, NULL, 0, &keys[k], k == 0 ? 1 : 100000, 8);
        pawl_archive_report report;
        uint64_t none = 0;
        MUST(pawl_credential_delete_all(to, &ada, 0, &none));
        MUST(import_in(to, archive, &keys[k], k == 0 ? 1 : 65536, &report));
        CHECK(report.credentials == 8 && report.imported == (k == 0 ? 8u : 2u) && report.kept == (k == 0 ? 0u : 6u));
        CHECK(report.improved == 0 && report.expired == 0 && report.unreadable == 0);
        free(archive.start);
    }
    HOLDS(to, &ada, "full", "secret");
    HOLDS(to, &ada, "empty", "");
    HOLDS(to, &work, "token", "t2");
    LACKS(to, &bob, "gone");
    for (size_t i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "large-%zu", i);
        pawl_view *views[2] = {NULL, NULL};
        pawl_credential c[2] = {PAWL_INIT(pawl_credential), PAWL_INIT(pawl_credential)};
        for (int side = 0; side < 2; side++) {
            MUST(pawl_credential_get(side ? to : from, &bob, name, strlen(name), &views[side]));
            MUST(pawl_view_credential(views[side], 0, &c[side]));
        }
        CHECK(c[0].secret_size == sizes[i] && c[1].secret_size == sizes[i]);
        CHECK(memcmp(c[0].secret, c[1].secret, sizes[i]) == 0);
        CHECK(c[0].created_ns == c[1].created_ns && c[0].updated_ns == c[1].updated_ns);
        for (int side = 0; side < 2; side++) pawl_view_close(views[side]);
    }
    pawl_view *view = NULL;
    pawl_credential c = PAWL_INIT(pawl_credential);
    pawl_attribute attribute = {NULL, 0, NULL, 0};
    MUST(pawl_credential_get(to, &ada, "full", 4, &view));
    MUST(pawl_view_credential(view, 0, &c));
    CHECK(c.label_size == 7 && memcmp(c.label, "a label", 7) == 0 && c.expires_ns == options.expires_ns);
    MUST(pawl_view_attribute(view, 0, 0, &attribute));
    CHECK(c.attribute_count == 1 && attribute.value_size == 10);
    pawl_view_close(view);
    CHECK(damage_count(to) == 0);
    pawl_store_close(from);
    pawl_store_close(to);
}

static void what_is_exported(void) {
    pawl_store *from = open_file(fresh_path());
    pawl_key key = raw_key();
    pawl_scope home = scope_of("ada", "home"), work = scope_of("ada", "work"), user = scope_of("ada", "");
    MUST(put(from, &home, "a", "1"));
    MUST(put(from, &home, "b", "1"));
    MUST(put(from, &work, "a", "1"));
    pawl_scope other = scope_of("adam", "home");
    MUST(put(from, &other, "a", "1"));
    free(export_in(from, &home, 0, &key, 1000, 2).start);
    free(export_in(from, &work, 0, &key, 1000, 1).start);
    free(export_in(from, &user, 0, &key, 1000, 0).start);
    free(export_in(from, &user, PAWL_EXPORT_ALL_PROJECTS, &key, 1000, 3).start);
    free(export_in(from, NULL, 0, &key, 1000, 4).start);
    pawl_stream *stream = NULL;
    ANSWERS(PAWL_MISUSE_PROJECT, pawl_export_begin(from, &home, PAWL_EXPORT_ALL_PROJECTS, &key, &stream));
    ANSWERS(PAWL_MISUSE_FLAGS, pawl_export_begin(from, NULL, PAWL_EXPORT_ALL_PROJECTS, &key, &stream));
    pawl_store_close(from);
}

static void the_later_one_wins(void) {
    int64_t time = 1000 * SECOND;
    pawl_clock clock = PAWL_INIT(pawl_clock);
    clock.context = &time;
    clock.now_ns = test_time;
    pawl_key key = raw_key();
    pawl_store *stores[2];
    pawl_scope scope = scope_of("ada", "");
    for (int i = 0; i < 2; i++) {
        pawl_store_options options = PAWL_INIT(pawl_store_options);
        options.flags = PAWL_STORE_MEMORY;
        options.key = &key;
        options.clock = &clock;
        MUST(pawl_store_open(&options, &stores[i]));
        MUST(put(stores[i], &scope, "same", "same"));
    }
    pawl_put_options soon = PAWL_INIT(pawl_put_options);
    soon.flags = PAWL_PUT_SET_EXPIRY;
    soon.expires_ns = 1010 * SECOND;
    MUST(pawl_credential_put(stores[0], &scope, "over", 4, "x", 1, &soon, NULL));
    MUST(put(stores[0], &scope, "later here", "old"));
    MUST(put(stores[1], &scope, "later there", "old"));
    time += SECOND;
    MUST(put(stores[1], &scope, "later here", "new"));
    MUST(put(stores[0], &scope, "later there", "new"));
    bytes archive = export_all(stores[0], &key, 4);
    time += 9 * SECOND;
    pawl_archive_report report;
    MUST(import_in(stores[1], archive, &key, 10, &report));
    CHECK(report.credentials == 4 && report.imported == 0 && report.improved == 1 && report.kept == 2);
    CHECK(report.expired == 1 && report.unreadable == 0);
    HOLDS(stores[1], &scope, "later here", "new");
    HOLDS(stores[1], &scope, "later there", "new");
    LACKS(stores[1], &scope, "over");
    /* A second time nothing changes. */
    MUST(import_in(stores[1], archive, &key, 10, &report));
    CHECK(report.improved == 0 && report.kept == 3 && report.expired == 1);
    free(archive.start);
    for (int i = 0; i < 2; i++) pawl_store_close(stores[i]);
}

static void other_keys(void) {
    pawl_store *store = open_file(fresh_path());
    pawl_scope scope = scope_of("ada", "");
    MUST(put(store, &scope, "a", "1"));
    char text[PAWL_RECOVERY_SIZE_MAX], again[PAWL_RECOVERY_SIZE_MAX];
    pawl_key raw = raw_key(), mine = recovery(text), other = recovery(again), words = passphrase_key("a");
    words.memory_size = PAWL_HASHING_MEMORY_MIN;
    bytes archive = export_all(store, &mine, 1);
    ANSWERS(PAWL_AUTH, import_all(store, archive, &other));
    ANSWERS(PAWL_AUTH, import_all(store, archive, &raw));
    ANSWERS(PAWL_AUTH, import_all(store, archive, &words));
    /* A letter mistyped, and a store's recovery key in place of a backup's. */
    pawl_stream *stream = NULL;
    size_t size = strlen(text);
    text[size - 1] = text[size - 1] == 'q' ? 'p' : 'q';
    ANSWERS(PAWL_MISUSE_RECOVERY, pawl_export_begin(store, NULL, 0, &mine, &stream));
    ANSWERS(PAWL_MISUSE_RECOVERY, import_all(store, archive, &mine));
    MUST(pawl_recovery_key_generate(PAWL_RECOVERY_STORE, text, sizeof text, &size));
    mine.secret_size = size;
    ANSWERS(PAWL_MISUSE_RECOVERY_PREFIX, import_all(store, archive, &mine));
    free(archive.start);
    pawl_store_close(store);
}

/* Each byte of the head and of where chunks meet changed, the end cut off anywhere, chunks swapped and doubled. */
static void what_was_changed_is_refused(void) {
    pawl_store *from = open_file(fresh_path()), *to = open_file(fresh_path());
    pawl_scope scope = scope_of("ada", "");
    uint8_t secret[70000];
    memset(secret, 7, sizeof secret);
    for (int i = 0; i < 3; i++) MUST(pawl_credential_put(from, &scope, &"abc"[i], 1, secret, sizeof secret, NULL, NULL));
    pawl_key key = raw_key();
    bytes good = export_all(from, &key, 3), bad = {malloc(good.size + CHUNK), good.size};
    NEED(good.size > HEAD + 3 * CHUNK);
    for (size_t at = 0; at < good.size; at += at < HEAD + 20 || at + 30 > good.size ? 1 : 9973) {
        memcpy(bad.start, good.start, good.size);
        bad.start[at] ^= 1;
        pawl_status status = import_all(to, bad, &key);
        int want = at < 7 ? PAWL_CORRUPT_NOT_PAWL : at < 9 || at >= 77 ? PAWL_CORRUPT : PAWL_AUTH;
        CHECK_SAYING(PAWL_STATUS_REASON(status) == want, "byte %zu: %s", at,
                     pawl_status_name(status));
        CHECK(list_count(to, &scope) == 0);
    }
    for (size_t cut = 1; cut <= good.size; cut += cut < 200 ? 1 : 9973) {
        bad = (bytes){bad.start, good.size - cut};
        memcpy(bad.start, good.start, bad.size);
        CHECK(PAWL_STATUS_PRIMARY(import_all(to, bad, &key)) == PAWL_CORRUPT);
    }
    bad.size = good.size - (good.size - HEAD) % CHUNK;
    memcpy(bad.start, good.start, bad.size);
    ANSWERS(PAWL_CORRUPT, import_all(to, bad, &key));
    bad.size = good.size;
    memcpy(bad.start, good.start, good.size);
    memcpy(bad.start + HEAD, good.start + HEAD + CHUNK, CHUNK);
    memcpy(bad.start + HEAD + CHUNK, good.start + HEAD, CHUNK);
    ANSWERS(PAWL_CORRUPT, import_all(to, bad, &key));
    bad.size = good.size + CHUNK;
    memcpy(bad.start, good.start, HEAD + CHUNK);
    memcpy(bad.start + HEAD + CHUNK, good.start + HEAD, good.size - HEAD);
    ANSWERS(PAWL_CORRUPT, import_all(to, bad, &key));
    bad.size = good.size + 1;
    memcpy(bad.start, good.start, good.size);
    bad.start[good.size] = 0;
    ANSWERS(PAWL_CORRUPT, import_all(to, bad, &key));
    bad.size = 0;
    ANSWERS(PAWL_CORRUPT_NOT_PAWL, import_all(to, bad, &key));
    CHECK(list_count(to, &scope) == 0);
    OK(import_all(to, good, &key));
    CHECK(list_count(to, &scope) == 3 && damage_count(to) == 0);
    free(good.start);
    free(bad.start);
    pawl_store_close(from);
    pawl_store_close(to);
}

/* Until it is finished nobody sees anything of it, and it can be given up, or the store closed, at any point. */
static void it_is_all_or_nothing(void) {
    const char *path = fresh_path();
    pawl_store *from = open_file(fresh_path()), *to = open_file(path), *beside = open_file(path);
    pawl_scope scope = scope_of("ada", "");
    MUST(put(from, &scope, "a", "1"));
    pawl_key key = raw_key();
    bytes archive = export_all(from, &key, 1);
    pawl_stream *stream = NULL;
    for (int finishes = 0; finishes < 2; finishes++) {
        MUST(pawl_import_begin(to, &key, &stream));
        MUST(pawl_stream_write(stream, archive.start, archive.size));
        LACKS(to, &scope, "a");
        LACKS(beside, &scope, "a");
        if (finishes) MUST(pawl_stream_finish(stream));
        pawl_stream_close(stream);
    }
    HOLDS(beside, &scope, "a", "1");
    pawl_stream *reading = NULL;
    uint8_t byte = 0;
    size_t size = 0;
    MUST(pawl_import_begin(to, &key, &stream));
    MUST(pawl_stream_write(stream, archive.start, archive.size - 1));
    MUST(pawl_export_begin(to, NULL, 0, &key, &reading));
    ANSWERS(PAWL_MISUSE_HANDLE, pawl_stream_read(stream, &byte, 1, &size));
    pawl_store_close(to);
    ANSWERS(PAWL_CLOSED, pawl_stream_finish(stream));
    ANSWERS(PAWL_CLOSED, pawl_stream_read(reading, &byte, 1, &size));
    pawl_stream_close(stream);
    pawl_stream_close(reading);
    pawl_stream_close(NULL);
    MUST(put(beside, &scope, "b", "2"));
    free(archive.start);
    pawl_store_close(from);
    pawl_store_close(beside);
}

/* From every engine, with and without a vault; into a store with one nothing can be imported. */
static void on_each_engine(setup *s) {
    pawl_store *to = open_file(fresh_path()), *batch = NULL;
    pawl_scope scope = scope_of("ada", "");
    pawl_key key = raw_key();
    pawl_stream *stream = NULL;
    MUST(put(s->store, &scope, "a", "1"));
    bytes archive = export_all(s->store, &key, 1);
    OK(import_all(to, archive, &key));
    HOLDS(to, &scope, "a", "1");
    MUST(put(s->store, &scope, "b", "2"));
    ANSWERS(s->has_vault ? PAWL_STATE_BATCH : PAWL_OK, import_all(s->store, archive, &key));
    HOLDS(s->store, &scope, "b", "2");
    if (pawl_batch_begin(s->store, &batch) == PAWL_OK) {
        ANSWERS(PAWL_STATE_BATCH, pawl_export_begin(batch, NULL, 0, &key, &stream));
        ANSWERS(PAWL_STATE_BATCH, pawl_import_begin(batch, &key, &stream));
        pawl_batch_rollback(batch);
    }
    free(archive.start);
    pawl_store_close(to);
}

int main(void) {
    RUN(all_comes_back);
    RUN(what_is_exported);
    RUN(the_later_one_wins);
    RUN(other_keys);
    RUN(what_was_changed_is_refused);
    RUN(it_is_all_or_nothing);
    RUN_EACH(on_each_engine);
    FINISH;
}

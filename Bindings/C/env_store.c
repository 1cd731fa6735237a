/* env_store STORE USER PROJECT FILE.env: stores each value of a .env file as a credential, all in
 * one batch. The passphrase of the store comes from the environment variable PAWL_PASSPHRASE.
 * Prints names and versions, never a value.
 *
 * A line is NAME=VALUE, with an optional `export` before it. A value in single quotes is taken as it
 * is; in double quotes \n \r \t \\ \" and \$ are escapes; both may span lines. Without quotes it ends
 * at the line's end or before " #". Nothing is expanded.
 */
#include <pawl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is being read, and where it is. */
typedef struct text {
    char *at;
    char *end;
    int line;
} text;

typedef struct entry {
    char *name;
    size_t name_size;
    char *value;
    size_t value_size;
} entry;

/* The compiler may not leave this out, as it may a plain memset before free. */
static void wipe(void *memory, size_t size) {
    volatile unsigned char *byte = memory;
    while (size-- > 0) *byte++ = 0;
}

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
static int is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static int is_name(char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-'; }

static void skip_blanks(text *t) {
    while (t->at < t->end && is_blank(*t->at)) t->at++;
}

static void skip_line(text *t) {
    while (t->at < t->end && *t->at != '\n') t->at++;
}

/* A quoted value, unescaped in place: what is written never overtakes what is read. */
static const char *read_quoted(text *t, entry *e) {
    char quote = *t->at++;
    char *out = t->at;
    e->value = out;
    while (t->at < t->end && *t->at != quote) {
        char c = *t->at++;
        if (c == '\n') t->line++;
        if (c == '\\' && quote == '"' && t->at < t->end) {
            switch (*t->at) {
            case 'n': c = '\n'; t->at++; break;
            case 'r': c = '\r'; t->at++; break;
            case 't': c = '\t'; t->at++; break;
            case '\\': case '"': case '$': c = *t->at++; break;
            default: break; /* any other backslash is one */
            }
        }
        *out++ = c;
    }
    if (t->at == t->end) return "a quote is not closed";
    t->at++;
    e->value_size = (size_t)(out - e->value);
    skip_blanks(t);
    if (t->at < t->end && *t->at != '\n' && *t->at != '#') return "something follows the closing quote";
    return NULL;
}

static void read_plain(text *t, entry *e) {
    e->value = t->at;
    char *last = t->at;
    for (; t->at < t->end && *t->at != '\n'; t->at++) {
        if (*t->at == '#' && (t->at == e->value || is_blank(t->at[-1]))) break;
        if (!is_blank(*t->at)) last = t->at + 1;
    }
    e->value_size = (size_t)(last - e->value);
}

/* 1: an entry; 0: the end; -1: `*error` says what is wrong in line `t->line`. */
static int next_entry(text *t, entry *e, const char **error) {
    for (;;) {
        skip_blanks(t);
        if (t->at == t->end) return 0;
        if (*t->at != '\n' && *t->at != '#') break;
        skip_line(t);
        if (t->at < t->end) t->at++;
        t->line++;
    }
    if (t->end - t->at > 7 && memcmp(t->at, "export", 6) == 0 && is_blank(t->at[6])) {
        t->at += 7;
        skip_blanks(t);
    }
    e->name = t->at;
    while (t->at < t->end && is_name(*t->at)) t->at++;
    e->name_size = (size_t)(t->at - e->name);
    skip_blanks(t);
    *error = "expected NAME=VALUE";
    if (e->name_size == 0 || !is_letter(*e->name) || t->at == t->end || *t->at != '=') return -1;
    t->at++;
    skip_blanks(t);
    *error = NULL;
    if (t->at < t->end && (*t->at == '"' || *t->at == '\'')) {
        *error = read_quoted(t, e);
    } else {
        read_plain(t, e);
    }
    if (*error != NULL) return -1;
    skip_line(t);
    return 1;
}

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    size_t room = 1 << 20;
    char *bytes = malloc(room);
    *size = bytes == NULL ? 0 : fread(bytes, 1, room, file);
    int whole = bytes != NULL && *size < room && !ferror(file);
    fclose(file);
    if (whole) return bytes;
    if (bytes != NULL) wipe(bytes, *size);
    free(bytes);
    return NULL;
}

static int failed(const char *what, pawl_status status) {
    fprintf(stderr, "env_store: %s: %s (%s)\n", what, pawl_status_text(status), pawl_status_name(status));
    return 1;
}

/* Stores all or nothing: the caller commits only after 0. */
static int store_all(pawl_store *batch, const pawl_scope *scope, text t, const char *path) {
    const char *error = NULL;
    entry e;
    int found = 0;
    while ((found = next_entry(&t, &e, &error)) == 1) {
        uint64_t version = 0;
        pawl_put_options options = PAWL_INIT(pawl_put_options);
        options.flags = PAWL_PUT_SET_PROVIDER;
        options.provider = "env";
        options.provider_size = 3;
        pawl_status status = pawl_credential_put(batch, scope, e.name, e.name_size, e.value, e.value_size,
                                                 &options, &version);
        if (status != PAWL_OK) {
            fprintf(stderr, "%s:%d: ", path, t.line);
            return failed("put", status);
        }
        printf("%.*s\tversion %llu\n", (int)e.name_size, e.name, (unsigned long long)version);
    }
    if (found == 0) return 0;
    fprintf(stderr, "%s:%d: %s\n", path, t.line, error);
    return 1;
}

int main(int argc, char **argv) {
    const char *passphrase = getenv("PAWL_PASSPHRASE");
    if (argc != 5 || passphrase == NULL) {
        fprintf(stderr, "usage: PAWL_PASSPHRASE=... %s STORE USER PROJECT FILE.env\n", argv[0]);
        return 2;
    }
    pawl_key key = PAWL_INIT(pawl_key);
    key.kind = PAWL_KEY_PASSPHRASE;
    key.secret = passphrase;
    key.secret_size = strlen(passphrase);
    pawl_store_options options = PAWL_INIT(pawl_store_options);
    options.flags = PAWL_STORE_CREATE;
    options.path = argv[1];
    options.path_size = strlen(argv[1]);
    options.key = &key;
    pawl_scope scope = PAWL_INIT(pawl_scope);
    scope.user = argv[2];
    scope.user_size = strlen(argv[2]);
    scope.project = argv[3];
    scope.project_size = strlen(argv[3]);

    size_t size = 0;
    char *bytes = read_file(argv[4], &size);
    if (bytes == NULL) {
        fprintf(stderr, "env_store: cannot read %s (or it is 1 MiB or larger)\n", argv[4]);
        return 1;
    }
    text t = {bytes, bytes + size, 1};
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) t.at += 3; /* a byte order mark */

    pawl_store *store = NULL;
    pawl_store *batch = NULL;
    int result = 1;
    pawl_status status = pawl_store_open(&options, &store);
    if (status != PAWL_OK) {
        failed("open", status);
    } else if ((status = pawl_batch_begin(store, &batch)) != PAWL_OK) {
        failed("begin", status);
    } else if (store_all(batch, &scope, t, argv[4]) != 0) {
        pawl_batch_rollback(batch);
        fprintf(stderr, "env_store: nothing was stored\n");
    } else if ((status = pawl_batch_commit(batch)) != PAWL_OK) {
        failed("commit", status);
    } else {
        result = 0;
    }
    pawl_store_close(store);
    wipe(bytes, size);
    free(bytes);
    return result;
}

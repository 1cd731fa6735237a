#include <sodium.h>

/* Memory for buffers that libsodium wipes. Builtins, because <stdlib.h> belongs to CPlatform. */
static inline void *buffer_allocate(size_t size) { return __builtin_malloc(size); }
static inline void buffer_free(void *memory) { __builtin_free(memory); }

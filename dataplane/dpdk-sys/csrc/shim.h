/*
 * Functions that DPDK has only as static inlines or thread-locals, given a symbol.
 *
 * A call per burst costs nothing that can be measured; a call per frame costs up to a tenth of an idle loop. So
 * what is needed per frame (first byte, lengths) is read in Rust from struct rte_mbuf, and is not here.
 */
#ifndef GLASSGATE_SHIM_H
#define GLASSGATE_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct rte_mbuf;
struct rte_mempool;

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t room);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);

/* A reset mbuf of one segment, or NULL when the pool is empty. */
struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
void shim_mbuf_free(struct rte_mbuf *frame);

/* rte_errno of the calling thread: a C thread-local, which bindgen would bind as a plain static. */
int shim_errno(void);
/* rte_lcore_id() of the calling thread; LCORE_ID_ANY outside lcores. */
unsigned int shim_lcore_id(void);

/* A stream that hands each line DPDK logs to `line(text, length)`, on the thread that logs. NULL on failure. */
FILE *shim_log_stream(void (*line)(const char *text, size_t length));

#endif

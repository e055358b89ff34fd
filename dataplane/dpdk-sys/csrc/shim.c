#define _GNU_SOURCE
#include "shim.h"

#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t room)
{
	return rte_eth_rx_burst(port, queue, frames, room);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void shim_mbuf_free(struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

int shim_errno(void)
{
	return rte_errno;
}

unsigned int shim_lcore_id(void)
{
	return rte_lcore_id();
}

static ssize_t log_write(void *cookie, const char *text, size_t length)
{
	void (*line)(const char *, size_t);

	/* ISO C has no cast between object and function pointers; copying the representation is its way round. */
	_Static_assert(sizeof(line) == sizeof(cookie), "pointers of two sizes");
	memcpy(&line, &cookie, sizeof(line));
	line(text, length);
	return (ssize_t)length;
}

FILE *shim_log_stream(void (*line)(const char *, size_t))
{
	const cookie_io_functions_t functions = { .write = log_write };
	void *cookie;
	FILE *stream;

	memcpy(&cookie, &line, sizeof(cookie));
	stream = fopencookie(cookie, "w", functions);
	if (stream != NULL)
		setvbuf(stream, NULL, _IOLBF, 1024);
	return stream;
}

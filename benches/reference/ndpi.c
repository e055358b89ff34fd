/* The peer: nDPI's library on frames that lie in memory, one thread, processor time per frame.
 *
 * usage: ndpi-reference ROUNDS CAPTURE
 *
 * CAPTURE is a classic pcap file of Ethernet frames in this machine's byte order. All of it is read first. Each round then
 * gives every frame to the library with flow state of its own, and prints one JSON object: frames, flows, flows with a
 * name, and the thread's processor time in nanoseconds.
 *
 * What surrounds the library is as little as can be, so that the figure is the library's: a walk over Ethernet, VLAN
 * tags and IP headers, a hash table of flows without expiry, no policy, no output. A flow is given up as ndpiReader does
 * it: when the library has an answer and asks for nothing further, or after 24 frames over UDP and 80 over TCP. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ndpi/ndpi_api.h>

struct frame {
	const uint8_t *bytes;
	uint32_t len;
	uint64_t ms;
};

struct key {
	uint8_t a[16], b[16];
	uint16_t a_port, b_port;
	uint8_t proto, pad[3];
};

struct flow {
	struct key key;
	struct flow *next;
	struct ndpi_flow_struct *ndpi;
	uint32_t frames;
	uint8_t done, named;
};

enum { BUCKETS = 1 << 20 };
static struct flow **buckets;
static uint64_t flows, named;

static void fail(const char *what, const char *of)
{
	fprintf(stderr, "ndpi-reference: %s: %s\n", of, what);
	exit(1);
}

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint64_t hash(const struct key *key)
{
	uint64_t h = 0x9e3779b97f4a7c15u, words[5];
	memcpy(words, key, sizeof words);
	for (int i = 0; i < 5; i++) {
		h = (h ^ words[i]) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	return h;
}

/* Both directions of a flow are one key. */
static void set_key(struct key *key, const uint8_t *src, const uint8_t *dst, size_t len, uint16_t sport, uint16_t dport,
		    uint8_t proto)
{
	int order = memcmp(src, dst, len);
	int swap = order > 0 || (order == 0 && sport > dport);
	memset(key, 0, sizeof *key);
	memcpy(key->a, swap ? dst : src, len);
	memcpy(key->b, swap ? src : dst, len);
	key->a_port = swap ? dport : sport;
	key->b_port = swap ? sport : dport;
	key->proto = proto;
}

static struct flow *find(const struct key *key)
{
	struct flow **at = &buckets[hash(key) & (BUCKETS - 1)];
	for (struct flow *f = *at; f; f = f->next)
		if (!memcmp(&f->key, key, sizeof *key))
			return f;
	struct flow *f = calloc(1, sizeof *f);
	if (!f || !(f->ndpi = ndpi_flow_malloc(SIZEOF_FLOW_STRUCT)))
		fail("out of memory", "flows");
	memset(f->ndpi, 0, SIZEOF_FLOW_STRUCT);
	f->key = *key;
	f->next = *at;
	*at = f;
	flows++;
	return f;
}

static void give(struct ndpi_detection_module_struct *ndpi, const struct frame *frame)
{
	const uint8_t *p = frame->bytes, *end = p + frame->len;
	if (frame->len < 14)
		return;
	uint16_t type = be16(p + 12);
	p += 14;
	while ((type == 0x8100 || type == 0x88a8 || type == 0x9100) && end - p >= 4) {
		type = be16(p + 2);
		p += 4;
	}
	const uint8_t *l4;
	struct key key;
	uint8_t proto;
	if (type == 0x0800 && end - p >= 20 && (p[0] & 15) >= 5) {
		proto = p[9];
		l4 = p + (p[0] & 15) * 4;
		if ((be16(p + 6) & 0x1fff) != 0 || end - l4 < 8 || (proto != 6 && proto != 17))
			return;
		set_key(&key, p + 12, p + 16, 4, be16(l4), be16(l4 + 2), proto);
	} else if (type == 0x86dd && end - p >= 40) {
		proto = p[6];
		l4 = p + 40;
		if (end - l4 < 8 || (proto != 6 && proto != 17))
			return;
		set_key(&key, p + 8, p + 24, 16, be16(l4), be16(l4 + 2), proto);
	} else {
		return;
	}
	struct flow *f = find(&key);
	if (f->done)
		return;
	f->frames++;
	ndpi_protocol found = ndpi_detection_process_packet(ndpi, f->ndpi, p, (unsigned short)(end - p), frame->ms);
	int answered = found.app_protocol != NDPI_PROTOCOL_UNKNOWN || found.master_protocol != NDPI_PROTOCOL_UNKNOWN;
	int over = f->frames > (proto == 17 ? 24u : 80u);
	if (over && !answered) {
		uint8_t guessed;
		ndpi_detection_giveup(ndpi, f->ndpi, 1, &guessed);
	}
	if (over || (answered && !ndpi_extra_dissection_possible(ndpi, f->ndpi))) {
		f->named = f->ndpi->host_server_name[0] != 0;
		named += f->named;
		ndpi_free_flow(f->ndpi);
		f->ndpi = NULL;
		f->done = 1;
	}
}

static void forget(void)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct flow *f = buckets[i], *next; f; f = next) {
			next = f->next;
			if (f->ndpi) {
				named += f->ndpi->host_server_name[0] != 0;
				ndpi_free_flow(f->ndpi);
			}
			free(f);
		}
		buckets[i] = NULL;
	}
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		fail("usage: ndpi-reference ROUNDS CAPTURE", "arguments");
	int rounds = atoi(argv[1]);
	FILE *file = fopen(argv[2], "rb");
	if (!file)
		fail("can't be opened", argv[2]);
	fseek(file, 0, SEEK_END);
	long size = ftell(file);
	rewind(file);
	uint8_t *bytes = size > 24 ? malloc((size_t)size) : NULL;
	if (!bytes || fread(bytes, 1, (size_t)size, file) != (size_t)size)
		fail("can't be read", argv[2]);
	fclose(file);
	uint32_t magic, link;
	memcpy(&magic, bytes, 4);
	memcpy(&link, bytes + 20, 4);
	if ((magic != 0xa1b2c3d4 && magic != 0xa1b23c4d) || link != 1)
		fail("is not a classic capture of Ethernet frames", argv[2]);
	uint32_t per_ms = magic == 0xa1b2c3d4 ? 1000 : 1000000;

	size_t count = 0, room = 1 << 16;
	struct frame *frames = malloc(room * sizeof *frames);
	for (long at = 24; frames && at + 16 <= size;) {
		uint32_t head[4];
		memcpy(head, bytes + at, 16);
		if (head[2] > (uint64_t)(size - at - 16))
			break;
		if (count == room)
			frames = realloc(frames, (room *= 2) * sizeof *frames);
		if (!frames)
			break;
		frames[count++] = (struct frame){bytes + at + 16, head[2], (uint64_t)head[0] * 1000 + head[1] / per_ms};
		at += 16 + (long)head[2];
	}
	buckets = calloc(BUCKETS, sizeof *buckets);
	struct ndpi_detection_module_struct *ndpi = ndpi_init_detection_module(ndpi_no_prefs);
	if (!frames || !buckets || !ndpi)
		fail("out of memory", "start");
	NDPI_PROTOCOL_BITMASK all;
	NDPI_BITMASK_SET_ALL(all);
	ndpi_set_protocol_detection_bitmask2(ndpi, &all);
	ndpi_finalize_initialization(ndpi);

	for (int round = 0; round < rounds; round++) {
		flows = named = 0;
		uint64_t start = now();
		for (size_t i = 0; i < count; i++)
			give(ndpi, &frames[i]);
		uint64_t took = now() - start;
		forget();
		printf("{\"frames\":%zu,\"flows\":%" PRIu64 ",\"named\":%" PRIu64 ",\"ns\":%" PRIu64 "}\n", count, flows, named, took);
		fflush(stdout);
	}
	return 0;
}

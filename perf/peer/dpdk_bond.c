// DPDK net_bonding (balance mode, policy layer 3+4) as a peer of the driver: what it costs to give packets to members, or
// to take them from members.
//
// The members are null ports whose transmit function only counts, so that hash and distribution are measured and nothing
// else, and whose receive function hands out the packets; a plain port with the same functions tells what the call itself
// costs. A resident process: prints "ready", then answers each line of its input with figures, so that it and the driver
// take turns on one processor (`perf/benches/peer.rs`).
//
//   dpdk_bond EAL-OPTIONS -- [-n PACKETS] [-z BYTES] [-m MEMBERS] [-f FLOWS] [-r] [-i] [-L SLICES] [-t SECONDS-OF-A-SLICE]
//
// -r: packets in a random order. -i: packets come in. Every further processor that the EAL is given (-l) does the same on
// a queue of its own while the first one is measured. Each answer: the median and the least nanoseconds a packet of the
// bond, the same of the plain port. Times are those of the thread.

#include <getopt.h>
#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_eth_bond.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 32, MOST_MEMBERS = 16, MOST_QUEUES = 16, HEADROOM = RTE_PKTMBUF_HEADROOM };

// A queue of a port, which one processor uses.
struct queue { uint64_t packets; uint32_t next; } __rte_cache_aligned;
static struct queue queues[RTE_MAX_ETHPORTS][MOST_QUEUES];
static uint16_t queue_count;
static int comes_in;
static volatile int is_measured;
static struct rte_mempool *pool;
static struct rte_mbuf **packets;
static uint32_t count;

static uint16_t only_count(void *queue, struct rte_mbuf **packets, uint16_t burst) {
    (void)packets;
    ((struct queue *)queue)->packets += burst;
    return burst;
}

static uint16_t hand_out(void *queue, struct rte_mbuf **out, uint16_t burst) {
    struct queue *from = queue;
    if (from->next + burst > count) from->next = 0;
    memcpy(out, packets + from->next, burst * sizeof *out);
    from->next += burst;
    from->packets += burst;
    return burst;
}

static uint32_t xorshift = 2463534242u;

static uint32_t next_random(void) {
    xorshift ^= xorshift << 13;
    xorshift ^= xorshift >> 17;
    xorshift ^= xorshift << 5;
    return xorshift;
}

// Frames of TCP over IPv4, drawn from that many flows; `peer.rs` makes the same.
static void make_packets(uint32_t wanted, int flows, int size) {
    struct flow { uint32_t from, to; uint16_t from_port, to_port; uint8_t mac; } *all = calloc(flows, sizeof *all);
    for (int i = 0; i < flows; i++) {
        all[i].from = 0x0a000000 | (next_random() & 0xffff);
        all[i].to = 0x0a010000 | (next_random() & 0xffff);
        all[i].from_port = 1024 + next_random() % 60000;
        all[i].to_port = next_random() & 1 ? 443 : 80;
        all[i].mac = next_random();
    }
    for (uint32_t i = 0; i < wanted; i++) {
        struct flow *flow = &all[next_random() % flows];
        struct rte_mbuf *packet = rte_pktmbuf_alloc(pool);
        uint8_t *bytes = packet ? (uint8_t *)rte_pktmbuf_append(packet, size) : NULL;
        if (!bytes) rte_exit(1, "no room for packet %u\n", i);
        memset(bytes, 0, size);
        memcpy(bytes, "\x02\0\0\0\xf9", 5);
        bytes[5] = flow->mac;
        memcpy(bytes + 6, "\x02\0\0\0\0\x05\x08\0", 8);
        struct rte_ipv4_hdr *ip = (void *)(bytes + 14);
        ip->version_ihl = 0x45;
        ip->total_length = htons(size - 14);
        ip->time_to_live = 64;
        ip->next_proto_id = 6;
        ip->src_addr = htonl(flow->from);
        ip->dst_addr = htonl(flow->to);
        struct rte_tcp_hdr *tcp = (void *)(ip + 1);
        tcp->src_port = htons(flow->from_port);
        tcp->dst_port = htons(flow->to_port);
        tcp->data_off = 0x50;
        packets[count++] = packet;
    }
    free(all);
}

static void shuffle(void) {
    for (uint32_t at = count - 1; at > 0; at--) {
        uint32_t with = next_random() % (at + 1);
        struct rte_mbuf *packet = packets[at];
        packets[at] = packets[with];
        packets[with] = packet;
    }
}

static void start(uint16_t port) {
    struct rte_eth_conf conf;
    memset(&conf, 0, sizeof conf);
    if (rte_eth_dev_configure(port, queue_count, queue_count, &conf)) rte_exit(1, "port %u cannot be set up\n", port);
    for (uint16_t queue = 0; queue < queue_count; queue++)
        if (rte_eth_rx_queue_setup(port, queue, 512, 0, NULL, pool) || rte_eth_tx_queue_setup(port, queue, 512, 0, NULL))
            rte_exit(1, "queue %u of port %u cannot be set up\n", queue, port);
}

static uint16_t null_port(const char *name) {
    uint16_t port;
    if (rte_vdev_init(name, NULL) || rte_eth_dev_get_port_by_name(name, &port)) rte_exit(1, "no %s\n", name);
    start(port);
    return port;
}

static void count_only(uint16_t port) {
    rte_eth_fp_ops[port].tx_pkt_burst = only_count;
    rte_eth_fp_ops[port].rx_pkt_burst = hand_out;
    for (uint16_t queue = 0; queue < queue_count; queue++) {
        rte_eth_fp_ops[port].txq.data[queue] = &queues[port][queue];
        rte_eth_fp_ops[port].rxq.data[queue] = &queues[port][queue];
    }
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

// All packets once.
static uint64_t all_packets(uint16_t port, uint16_t queue) {
    struct rte_mbuf *burst[BURST];
    uint64_t done = 0;
    for (uint32_t at = 0; at + BURST <= count; at += BURST) {
        if (comes_in) {
            done += rte_eth_rx_burst(port, queue, burst, BURST);
        } else {
            memcpy(burst, packets + at, sizeof burst);
            done += rte_eth_tx_burst(port, queue, burst, BURST);
        }
    }
    return done;
}

// What every processor but the first does.
static int beside(void *port) {
    uint16_t queue = rte_lcore_index(rte_lcore_id());
    while (is_measured) all_packets(*(uint16_t *)port, queue);
    return 0;
}

// Nanoseconds of the thread for each packet, for about that long.
static double slice(uint16_t port, double length) {
    uint64_t sent = 0;
    double cpu = seconds(CLOCK_THREAD_CPUTIME_ID), end = seconds(CLOCK_MONOTONIC) + length;
    do sent += all_packets(port, 0);
    while (seconds(CLOCK_MONOTONIC) < end);
    return (seconds(CLOCK_THREAD_CPUTIME_ID) - cpu) * 1e9 / sent;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(uint16_t port, int slices, double length, double *all, const char *end) {
    is_measured = 1;
    rte_eal_mp_remote_launch(beside, &port, SKIP_MAIN);
    for (int at = 0; at < slices; at++) all[at] = slice(port, length);
    is_measured = 0;
    rte_eal_mp_wait_lcore();
    qsort(all, slices, sizeof *all, by_size);
    printf("%.3f %.3f%s", all[slices / 2], all[0], end);
}

int main(int argc, char **argv) {
    int eal = rte_eal_init(argc, argv), option, members = 4, flows = 1024, size = 64, slices = 10, is_random = 0;
    uint32_t wanted = 256;
    double length = 0.002;
    if (eal < 0) rte_exit(1, "the EAL does not start\n");
    optind = 1;
    while ((option = getopt(argc - eal, argv + eal, "n:z:m:f:L:t:ri")) != -1) {
        switch (option) {
        case 'n': wanted = atoi(optarg); break;
        case 'z': size = atoi(optarg); break;
        case 'm': members = atoi(optarg); break;
        case 'f': flows = atoi(optarg); break;
        case 'L': slices = atoi(optarg); break;
        case 't': length = atof(optarg); break;
        case 'r': is_random = 1; break;
        case 'i': comes_in = 1; break;
        default: rte_exit(2, "see the head of dpdk_bond.c\n");
        }
    }
    if (wanted < BURST || size < 54 || size > 2000 || members < 1 || members > MOST_MEMBERS || flows < 1 || slices < 1)
        rte_exit(2, "out of range; see the head of dpdk_bond.c\n");
    queue_count = rte_lcore_count();
    if (queue_count > MOST_QUEUES || rte_lcore_index(rte_get_main_lcore()) != 0) rte_exit(2, "too many processors\n");
    pool = rte_pktmbuf_pool_create("packets", wanted + 8192, 256, 0, 2048 + HEADROOM, 0);
    packets = calloc(wanted, sizeof *packets);
    if (!pool || !packets) rte_exit(1, "no memory for %u packets\n", wanted);
    make_packets(wanted, flows, size);
    if (is_random) shuffle();

    int bond = rte_eth_bond_create("net_bonding0", BONDING_MODE_BALANCE, 0);
    if (bond < 0) rte_exit(1, "no bond: %d\n", bond);
    start(bond);
    rte_eth_bond_link_monitoring_set(bond, 10);
    uint16_t member[MOST_MEMBERS], active[MOST_MEMBERS];
    for (int at = 0; at < members; at++) {
        char name[32];
        snprintf(name, sizeof name, "net_null%d", at);
        member[at] = null_port(name);
        if (rte_eth_bond_slave_add(bond, member[at])) rte_exit(1, "%s does not join\n", name);
    }
    if (rte_eth_dev_start(bond)) rte_exit(1, "the bond does not start\n");
    int up = 0;
    for (int tries = 0; tries < 200 && up < members; tries++) {
        usleep(10000);
        up = rte_eth_bond_active_slaves_get(bond, active, MOST_MEMBERS);
    }
    if (up != members) rte_exit(1, "%d of %d members are active\n", up, members);
    rte_eth_bond_xmit_policy_set(bond, BALANCE_XMIT_POLICY_LAYER34);
    uint16_t plain = null_port("net_null99");
    rte_eth_dev_start(plain);
    for (int at = 0; at < members; at++) count_only(member[at]);
    count_only(plain);

    setvbuf(stdout, NULL, _IOLBF, 0);
    double *all = calloc(slices, sizeof *all);
    slice(bond, length);
    for (int at = 0; at < members; at++)
        if (!queues[member[at]][0].packets) rte_exit(1, "member %d has nothing to do\n", at);
    puts("ready");
    for (char line[64]; fgets(line, sizeof line, stdin);) {
        measure(bond, slices, length, all, " ");
        measure(plain, slices, length, all, "\n");
    }
    fflush(stdout);
    _exit(0);
}

"""Part of the door: what an `Engine` is told about nodes, zones and memory policies, and what it says of nodes."""

from libc.stdlib cimport calloc
from libc.string cimport memset

from .buddy cimport kernel_block_t, kernel_free, zone_init, zone_init_free, zone_layout, zone_t
from .machine cimport last_cpu, machine_finish_zones, machine_t
from .mempolicy cimport MPOL_BIND, MPOL_DEFAULT, MPOL_LOCAL, mempolicy_t
from .node cimport node_build_zonelist, node_t
from .page cimport PG_PCP
from .pcp cimport pcp_fill_half, pcp_half, pcp_push
from .page_alloc cimport build_zonelist
from .slab cimport metadata_place, slab_caches_init, slab_place
from .types cimport (MAX_NODES, MAX_NR_ZONES, MIGRATE_RECLAIMABLE, MIGRATE_TYPES, MIGRATE_UNMOVABLE, PAGEBLOCK_PAGES,
                     int32_t, int64_t, uint32_t, uint64_t, uint8_t)
from .vmstat cimport NR_KERNEL_PINNED
from .zonelist cimport zonelist_t


cdef int add_kernel_blocks(zone_t *z, given) except -1:
    """Page blocks of the kernel's, (migratetype, free pages) from the highest to the lowest."""
    # and room for two more, see fill_kernel_lists
    z.kernel_blocks = <kernel_block_t *> calloc(len(given) + 2, sizeof(kernel_block_t))
    if z.kernel_blocks == NULL:
        raise MemoryError("page blocks")
    for mt, pages in given:
        if mt not in (MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE) or not 0 < pages <= PAGEBLOCK_PAGES:
            raise ValueError(f"zone {z.idx} of node {z.nid}: page block of type {mt} with {pages} free pages")
        z.kernel_blocks[z.nr_kernel_blocks] = kernel_block_t(mt, pages)
        z.nr_kernel_blocks += 1
    return 0


cdef bint has_blocks_of(const zone_t *z, int mt) noexcept nogil:
    cdef int i
    for i in range(z.nr_kernel_blocks):
        if z.kernel_blocks[i].mt == mt:
            return True
    return False


cdef int add_zones(machine_t *m, node_t *n, zones) except -1:
    cdef zone_t *z
    cdef int idx, zid
    cdef int64_t start, spanned, managed
    for zs in zones:
        idx = zs["idx"]
        zid = n.first_zone + idx
        z = &m.zones[zid]
        start, spanned, managed = zs["start_pfn"], zs["spanned"], zs["managed"]
        zone_init(z, n.nid, idx, zid, start, spanned, managed, m.nr_cpus)
        z.present = zs.get("present", managed)
        add_kernel_blocks(z, zs.get("kernel_blocks", ()))
        z.v61 = m.v61
        if zs.get("watermarks"):
            z.given = True
            z.given_wmark = zs["watermarks"]
        if zs.get("protection"):
            z.given_protection = True
            for k, pages in enumerate(zs["protection"][:MAX_NR_ZONES]):
                z.given_reserve[<int> k] = pages
        n.present += z.present
    return 0


cdef int64_t fill_kernel_lists(machine_t *m, node_t *n, zone_t *z, int64_t free, int64_t listed,
                               int64_t metadata) except -1:
    """Makes `free` frames of the zone free; where it knows page blocks of the kernel's, some of the `listed` ones wait
    in the lists that its CPUs have for these, if there is room for that: they come out of a page block of their own for
    each type. Returns how many."""
    cdef int64_t half = pcp_half(z), per_cpu = half * (has_blocks_of(z, MIGRATE_UNMOVABLE)
                                                       + has_blocks_of(z, MIGRATE_RECLAIMABLE))
    cdef int64_t cpus = min(listed // per_cpu, <int64_t> n.nr_cpus, PAGEBLOCK_PAGES // half) if per_cpu else 0
    cdef int64_t kept = cpus * per_cpu, below = listed - kept + metadata, first
    cdef int given = z.nr_kernel_blocks, cpu, i, mt
    for mt in range(0, MIGRATE_TYPES if cpus else 0):
        if has_blocks_of(z, mt):
            z.kernel_blocks[z.nr_kernel_blocks] = kernel_block_t(mt, cpus * half)
            z.nr_kernel_blocks += 1
    first = zone_layout(z, free + kept)
    if first < z.start_pfn or below and (first & ~<int64_t> (PAGEBLOCK_PAGES - 1)) - below < z.start_pfn:
        z.nr_kernel_blocks = given
        kept = cpus = 0
    zone_init_free(z, m.frames, free + kept)
    for cpu in range(m.nr_cpus):
        if m.cpus[cpu].nid == n.nid and cpus > 0:
            for i in range(given, z.nr_kernel_blocks):
                pcp_fill_half(z, m.frames, cpu, z.kernel_blocks[i].mt)
            cpus -= 1
    return kept


cdef int fill_zones(machine_t *m, node_t *n, zones) except -1:
    """What is free at the start, what lies in a per-CPU list, and what the kernel holds."""
    cdef zone_t *z
    cdef int64_t free, first, listed, pfn, metadata
    for zs in zones:
        z = &m.zones[n.first_zone + <int> zs["idx"]]
        free = zs["free"]
        if not kernel_free(z) <= free <= z.managed <= z.spanned:
            raise ValueError(f"zone {zs['idx']} of node {n.nid}: {kernel_free(z)} free pages in the kernel's page blocks, "
                             f"free {free}, managed {z.managed}, spanned {z.spanned} pages do not fit together")
        first = zone_layout(z, free)
        if first < z.start_pfn:
            raise ValueError(f"zone {zs['idx']} of node {n.nid}: {z.nr_kernel_blocks} page blocks of the kernel's would "
                             f"begin at {first}, before the zone")
        listed = min(<int64_t> zs.get("percpu", 0), z.managed - free, z.pcp_high_max)
        metadata = zs.get("metadata", 0)
        n.stat[NR_KERNEL_PINNED] += z.managed - free - listed
        listed -= fill_kernel_lists(m, n, z, free, listed, metadata)
        first = z.held_end
        if listed + metadata and first - listed - metadata < z.start_pfn:
            raise ValueError(f"zone {zs['idx']} of node {n.nid}: no room for {listed} pages of per-CPU lists and "
                             f"{metadata} of metadata below the kernel's page blocks")
        # in the list of the node's last CPU: what the first ones have, they use up at once
        for pfn in range(first - listed, first):
            m.frames[pfn].flags = PG_PCP
            m.frames[pfn].zone = <uint8_t> z.id
            pcp_push(&z.pcp[last_cpu(m, n.nid)], <uint32_t> pfn)
        first -= listed
        metadata_place(m, z, first, metadata)
    return 0


cdef int add_tiers(machine_t *m, nodes) except -1:
    """Tiers and where each node demotes to. All tiers down to the slowest one that has CPUs are top tiers."""
    cdef node_t *n
    cdef int i, slowest = 0
    for i, spec in enumerate(nodes):
        n = &m.nodes[i]
        n.tier = spec.get("tier", 0)
        if n.nr_cpus:
            slowest = max(slowest, n.tier)
        for nid in spec.get("demotion", ()):
            n.demotion_target[n.nr_demotion_targets] = nid
            n.nr_demotion_targets += 1
        n.can_demote = m.p.demotion_enabled != 0 and n.nr_demotion_targets > 0
    for i in range(m.nr_nodes):
        m.nodes[i].toptier = m.nodes[i].tier <= slowest
    return 0


cdef int add_nodes(machine_t *m, list nodes) except -1:
    """Nodes and zones as `Engine` describes them; the CPUs are there. Raises ValueError, MemoryError."""
    cdef node_t *n
    cdef int32_t[MAX_NODES] load
    cdef int i, j
    memset(load, 0, sizeof(load))
    for i, spec in enumerate(nodes):
        n = &m.nodes[i]
        for j in range(m.nr_nodes):
            n.distance[j] = spec["distance"][j]
            n.access_ns[j] = max(1, spec["access_ns"][j])
        zones = spec["zones"]
        add_zones(m, n, zones)
    add_tiers(m, nodes)
    for i in range(m.nr_zones):
        m.zones[i].id = i
        m.zones[i].idx = i % MAX_NR_ZONES
        m.zones[i].nid = i // MAX_NR_ZONES
    machine_finish_zones(m)
    for i, spec in enumerate(nodes):
        zones = spec["zones"]
        fill_zones(m, &m.nodes[i], zones)
    slab_caches_init(m)
    slab_place(m)
    m.zonelists = <zonelist_t *> calloc(m.nr_nodes, sizeof(zonelist_t))
    if m.zonelists == NULL:
        raise MemoryError("zonelists")
    for i in range(m.nr_nodes):
        node_build_zonelist(m.nodes, m.nr_nodes, i, load)
    for i in range(m.nr_nodes):
        build_zonelist(m, i, 0, &m.zonelists[i])
    return 0


cdef int add_policies(machine_t *m, policies) except -1:
    """Memory policies as `Engine` describes them; the nodes are there. Raises ValueError, MemoryError."""
    cdef mempolicy_t *pol
    cdef int i, mode, nid
    m.policies = <mempolicy_t *> calloc(len(policies) + 1, sizeof(mempolicy_t))
    if m.policies == NULL:
        raise MemoryError("memory policies")
    for spec in policies:
        pol = &m.policies[m.nr_policies]
        m.nr_policies += 1
        mode = spec["mode"]
        if not MPOL_DEFAULT < mode <= MPOL_LOCAL:
            raise ValueError(f"memory policy of mode {mode}")
        pol.mode = mode
        weights = spec.get("weights") or [1] * len(spec["nodes"])
        for k, given in enumerate(spec["nodes"]):
            nid = given
            if not 0 <= nid < m.nr_nodes or not m.nodes[nid].has_memory or not 1 <= weights[k] <= 255:
                raise ValueError(f"memory policy: node {nid} with weight {weights[k]}")
            pol.nodes |= <uint64_t> 1 << nid
            pol.weights[nid] = weights[k]
            pol.total_weight += pol.weights[nid]
        if (pol.nodes == 0) != (mode == MPOL_LOCAL):
            raise ValueError(f"memory policy of mode {mode} with nodes {spec['nodes']}")
        if pol.mode == MPOL_BIND:
            pol.bound = <zonelist_t *> calloc(m.nr_nodes, sizeof(zonelist_t))
            if pol.bound == NULL:
                raise MemoryError("memory policies")
            for i in range(m.nr_nodes):
                build_zonelist(m, i, pol.nodes, &pol.bound[i])
    return 0


cdef list node_facts(machine_t *m):
    cdef node_t *n
    cdef int i
    out = []
    for i in range(m.nr_nodes):
        n = &m.nodes[i]
        out.append({
            "cpus": n.nr_cpus, "managed": n.managed, "present": n.present,
            "distance": [n.distance[j] for j in range(m.nr_nodes)],
            "access_ns": [n.access_ns[j] for j in range(m.nr_nodes)],
            "tier": n.tier, "toptier": bool(n.toptier),
            "demotion": [n.demotion_target[j] for j in range(n.nr_demotion_targets)],
            "fallback": [n.fallback[j] for j in range(n.nr_fallback)],
            "min_unmapped": n.min_unmapped_pages, "min_slab": n.min_slab_pages,
            "hot_threshold_ns": n.nbp_threshold or m.p.numa_hot_threshold_ns,
            "kswapd_failures": n.kswapd_failures, "anon_cost": n.lruvec.anon_cost,
            "file_cost": n.lruvec.file_cost, "nonresident_age": n.lruvec.nonresident_age,
        })
    return out

# Plain image of the tunables and of the cost model, in pages and nanoseconds. Filled once by the door.
from .types cimport int64_t

ctypedef struct params_t:
    int64_t kernel                      # KERNEL_6_1 or KERNEL_6_12
    int64_t hz                          # jiffies per second
    # vm.* (see pymem/tunables.py for meaning and bounds)
    int64_t min_free_kbytes             # -1: the kernel's formula
    int64_t watermark_scale_factor
    int64_t watermark_boost_factor
    int64_t lowmem_reserve_dma
    int64_t lowmem_reserve_dma32
    int64_t lowmem_reserve_normal
    int64_t percpu_pagelist_high_fraction
    int64_t thp_enabled                 # only raises min_free_kbytes
    int64_t swappiness
    int64_t page_cluster
    int64_t vma_ra_enabled
    int64_t lru_batch            # new pages that reach their LRU list together
    int64_t vfs_cache_pressure
    int64_t dirty_ratio
    int64_t dirty_background_ratio
    int64_t dirty_pages                 # from dirty_bytes; 0: use the ratio
    int64_t dirty_background_pages
    int64_t dirty_expire_ns
    int64_t dirty_writeback_ns
    int64_t laptop_mode
    int64_t zone_reclaim_mode
    int64_t compaction_proactiveness
    int64_t extfrag_threshold
    int64_t min_unmapped_ratio
    int64_t min_slab_ratio
    int64_t panic_on_oom
    int64_t oom_kill_allocating_task
    int64_t fault_around_pages
    int64_t ra_pages                    # read_ahead_kb / 4
    int64_t numa_balancing              # bit 0 normal, bit 1 tiering
    int64_t numa_promote_pages_per_sec
    int64_t numa_scan_delay_ns
    int64_t numa_scan_period_ns
    int64_t numa_scan_period_max_ns
    int64_t numa_scan_pages
    int64_t numa_hot_threshold_ns
    int64_t demotion_enabled
    int64_t zswap_enabled
    int64_t zswap_max_pool_percent
    int64_t zswap_accept_percent
    int64_t zswap_zbud                  # 6.1's default allocator instead of zsmalloc
    int64_t zswap_shrinker
    int64_t zswap_same_filled
    int64_t zswap_non_same_filled
    # machine facts
    int64_t slab_reclaimable            # pages in use at boot, on node 0, that no shrinker can free
    int64_t slab_freeable               # and those one can: dentries, inodes
    int64_t slab_unreclaimable
    int64_t ramfs_pages                 # of the kernel memory on node 0: files that lie in memory
    int64_t ramfs_mapped                # of those: what programs outside the simulation have mapped
    int64_t buffer_heads                # 1: the file system attaches one to pages that are written (ext4)
    int64_t thread_stack_pages          # kernel stack + task struct of one task
    # cost model, ns
    int64_t c_zero_page_fault
    int64_t c_anon_fault
    int64_t c_cow_fault
    int64_t c_file_minor_fault
    int64_t c_wp_reuse
    int64_t c_major_fault
    int64_t c_fork_pte
    int64_t c_unmap_page
    int64_t c_reclaim_scan
    int64_t c_reclaim_free
    int64_t c_reclaim_cache
    int64_t c_reclaim_unmap
    int64_t c_tlb_flush
    int64_t c_tlb_flush_cpu
    int64_t c_slab_object
    int64_t c_writeback_page
    int64_t c_page_cache_add
    int64_t c_map_page
    int64_t c_reclaim_pass
    int64_t c_reclaim_skip
    int64_t c_context_switch
    int64_t c_wakeup
    int64_t c_syscall
    int64_t c_page_copy
    int64_t c_migrate
    int64_t c_hint_fault
    int64_t c_exit
    int64_t c_compress
    int64_t c_decompress
    int64_t c_same_filled
    int64_t sched_quantum               # how far clocks of CPUs may drift apart
    int64_t sched_slice                 # run time before another runnable thread gets the CPU

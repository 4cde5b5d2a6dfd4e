package redis

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/identity"
)

// section is one part of INFO.
type section struct {
	name  string
	lines func(s *Server) []string
}

var sections = []section{
	{"Server", (*Server).infoServer},
	{"Clients", (*Server).infoClients},
	{"Memory", (*Server).infoMemory},
	{"Persistence", (*Server).infoPersistence},
	{"Stats", (*Server).infoStats},
	{"Replication", (*Server).infoReplication},
	{"CPU", (*Server).infoCPU},
	{"Modules", func(*Server) []string { return nil }},
	{"Errorstats", func(*Server) []string { return nil }},
	{"Cluster", func(*Server) []string { return []string{"cluster_enabled:0"} }},
	{"Keyspace", (*Server).infoKeyspace},
}

func info(c *client, args []string) {
	if len(args) > 2 && !c.s.v.atLeast(7, 0) {
		c.fail(errSyntax)
		return
	}
	wanted := map[string]bool{}
	for _, a := range args[1:min(len(args), 32)] {
		wanted[strings.ToLower(a)] = true
	}
	all := len(wanted) == 0 || wanted["default"] || wanted["all"] || wanted["everything"]
	var parts []string
	for _, s := range sections {
		if !all && !wanted[strings.ToLower(s.name)] {
			continue
		}
		if (s.name == "Modules" || s.name == "Errorstats") && !c.s.v.atLeast(6, 2) {
			continue
		}
		parts = append(parts, strings.Join(append([]string{"# " + s.name}, s.lines(c.s)...), "\r\n")+"\r\n")
	}
	c.bulk(strings.Join(parts, "\r\n"))
}

// uptime is a little shorter than the machine's: services start after the boot.
func (s *Server) uptime() int64 {
	return max(int64(s.host.Uptime().Seconds())-int64(s.host.ID.Seed()%200)-20, 1)
}

func (s *Server) infoServer() []string {
	id, up := s.host.ID, s.uptime()
	gcc := map[string]string{"debian": "12.2.0", "ubuntu": "11.4.0", "rocky": "11.4.1", "centos": "4.8.5", "alpine": "13.2.1", "fedora": "13.3.1"}[s.host.Release.ID]
	if gcc == "" {
		gcc = "14.2.0"
	}
	lines := []string{
		"redis_version:" + s.v.text, "redis_git_sha1:00000000", "redis_git_dirty:0", "redis_build_id:" + id.Hex(8, "redis-build"), "redis_mode:standalone", "os:" + s.os, "arch_bits:64",
	}
	if s.v.atLeast(7, 0) {
		lines = append(lines, "monotonic_clock:POSIX clock_gettime")
	}
	lines = append(lines, "multiplexing_api:epoll", "atomicvar_api:"+map[bool]string{true: "c11-builtin", false: "atomic-builtin"}[s.v.atLeast(6, 2)], "gcc_version:"+gcc,
		"process_id:"+strconv.Itoa(600+int(id.Seed()%1900)))
	if s.v.atLeast(6, 2) {
		lines = append(lines, "process_supervised:no")
	}
	lines = append(lines, "run_id:"+id.Hex(20, "redis-run"), "tcp_port:6379")
	if s.v.atLeast(6, 2) {
		lines = append(lines, fmt.Sprintf("server_time_usec:%d", s.host.Now().UnixMicro()))
	}
	return append(lines, fmt.Sprintf("uptime_in_seconds:%d", up), fmt.Sprintf("uptime_in_days:%d", up/86400), "hz:10", "configured_hz:10", fmt.Sprintf("lru_clock:%d", s.host.Now().Unix()&0xffffff),
		"executable:/usr/local/bin/redis-server", "config_file:"+identity.Pick(id, "redis-conf", []string{"/etc/redis/redis.conf", "/etc/redis/6379.conf", "/usr/local/etc/redis/redis.conf", "/etc/redis.conf"}))
}

func (s *Server) infoClients() []string {
	lines := []string{fmt.Sprintf("connected_clients:%d", len(s.clients)+int(s.host.ID.Seed()%4))}
	if s.v.atLeast(6, 2) {
		lines = append(lines, "cluster_connections:0", "maxclients:"+s.settings["maxclients"])
	}
	lines = append(lines, "client_recent_max_input_buffer:20480", "client_recent_max_output_buffer:0", "blocked_clients:0")
	if s.v.atLeast(6, 0) {
		lines = append(lines, "tracking_clients:0", "clients_in_timeout_table:0")
	}
	return lines
}

// human spells a size as Redis does.
func human(n int64) string {
	units := []string{"B", "K", "M", "G"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 {
		return strconv.FormatInt(n, 10) + "B"
	}
	return fmt.Sprintf("%.2f%s", f, units[i])
}

func (s *Server) infoMemory() []string {
	startup := int64(790_000 + s.host.ID.Seed()%90_000)
	used := startup + int64(s.db.size)*2 + int64(len(s.clients))*20504
	rss := used*2 + 5_200_000
	peak := used + int64(s.host.ID.Seed()%700_000)
	total := int64(s.host.MemKB) * 1024
	limit, _ := strconv.ParseInt(s.settings["maxmemory"], 10, 64)
	return []string{
		fmt.Sprintf("used_memory:%d", used), "used_memory_human:" + human(used), fmt.Sprintf("used_memory_rss:%d", rss), "used_memory_rss_human:" + human(rss),
		fmt.Sprintf("used_memory_peak:%d", peak), "used_memory_peak_human:" + human(peak), fmt.Sprintf("used_memory_peak_perc:%.2f%%", float64(used)*100/float64(peak)),
		fmt.Sprintf("used_memory_overhead:%d", startup+20504), fmt.Sprintf("used_memory_startup:%d", startup), fmt.Sprintf("used_memory_dataset:%d", used-startup-20504),
		fmt.Sprintf("allocator_allocated:%d", used+120_000), fmt.Sprintf("allocator_active:%d", used+560_000), fmt.Sprintf("allocator_resident:%d", used+3_100_000),
		fmt.Sprintf("total_system_memory:%d", total), "total_system_memory_human:" + human(total), "used_memory_lua:37888", "used_memory_lua_human:37.00K", "used_memory_scripts:0", "used_memory_scripts_human:0B",
		"number_of_cached_scripts:0", fmt.Sprintf("maxmemory:%d", limit), "maxmemory_human:" + human(limit), "maxmemory_policy:" + s.settings["maxmemory-policy"],
		fmt.Sprintf("mem_fragmentation_ratio:%.2f", float64(rss)/float64(used)), fmt.Sprintf("mem_fragmentation_bytes:%d", rss-used), "mem_not_counted_for_evict:0", "mem_replication_backlog:0",
		"mem_clients_slaves:0", "mem_clients_normal:20504", "mem_aof_buffer:0", "mem_allocator:jemalloc-5.1.0", "active_defrag_running:0", "lazyfree_pending_objects:0",
	}
}

func (s *Server) infoPersistence() []string {
	return []string{
		"loading:0", fmt.Sprintf("rdb_changes_since_last_save:%d", s.dirty), "rdb_bgsave_in_progress:0", fmt.Sprintf("rdb_last_save_time:%d", s.lastSave.Unix()), "rdb_last_bgsave_status:ok",
		"rdb_last_bgsave_time_sec:0", "rdb_current_bgsave_time_sec:-1", "rdb_last_cow_size:466944", "aof_enabled:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0",
		"aof_last_rewrite_time_sec:-1", "aof_current_rewrite_time_sec:-1", "aof_last_bgrewrite_status:ok", "aof_last_write_status:ok", "aof_last_cow_size:0",
	}
}

func (s *Server) infoStats() []string {
	in := s.commands * 53
	return []string{
		fmt.Sprintf("total_connections_received:%d", s.total), fmt.Sprintf("total_commands_processed:%d", s.commands), fmt.Sprintf("instantaneous_ops_per_sec:%d", s.host.Now().Unix()/3%7),
		fmt.Sprintf("total_net_input_bytes:%d", in), fmt.Sprintf("total_net_output_bytes:%d", in*4), "instantaneous_input_kbps:0.04", "instantaneous_output_kbps:0.31", "rejected_connections:0",
		"sync_full:0", "sync_partial_ok:0", "sync_partial_err:0", fmt.Sprintf("expired_keys:%d", s.commands/211), "expired_stale_perc:0.00", "expired_time_cap_reached_count:0", "evicted_keys:0",
		fmt.Sprintf("keyspace_hits:%d", s.commands/3), fmt.Sprintf("keyspace_misses:%d", s.commands/40), "pubsub_channels:0", "pubsub_patterns:0", "latest_fork_usec:" + strconv.Itoa(200+int(s.host.ID.Seed()%900)),
		"migrate_cached_sockets:0", "slave_expires_tracked_keys:0", "active_defrag_hits:0", "active_defrag_misses:0", "active_defrag_key_hits:0", "active_defrag_key_misses:0",
	}
}

func (s *Server) infoReplication() []string {
	replid := s.host.ID.Hex(20, "redis-replid")
	tail := []string{
		"connected_slaves:0", "master_replid:" + replid, "master_replid2:0000000000000000000000000000000000000000", "master_repl_offset:0", "second_repl_offset:-1",
		"repl_backlog_active:0", "repl_backlog_size:" + s.settings["repl-backlog-size"], "repl_backlog_first_byte_offset:0", "repl_backlog_histlen:0",
	}
	if s.master == "" {
		return append([]string{"role:master"}, tail...)
	}
	host, port, _ := net.SplitHostPort(s.master)
	host = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, host)
	return append([]string{
		"role:slave", "master_host:" + host, "master_port:" + port, "master_link_status:down", "master_last_io_seconds_ago:-1", "master_sync_in_progress:0",
		"slave_repl_offset:1", "master_link_down_since_seconds:" + strconv.FormatInt(s.host.Now().Unix()%600, 10), "slave_priority:100", "slave_read_only:1",
	}, tail...)
}

func (s *Server) infoCPU() []string {
	up := float64(s.uptime())
	return []string{
		fmt.Sprintf("used_cpu_sys:%.6f", up*0.0011), fmt.Sprintf("used_cpu_user:%.6f", up*0.0009), "used_cpu_sys_children:0.104211", "used_cpu_user_children:0.271030",
	}
}

func (s *Server) infoKeyspace() []string {
	var lines []string
	for db := range databases {
		n, expires, ttl := 0, 0, int64(0)
		for _, k := range s.db.list(db) {
			n++
			if v := s.db.get(db, k); v != nil && !v.expires.IsZero() {
				expires++
				ttl += v.expires.Sub(s.host.Now()).Milliseconds()
			}
		}
		if n > 0 {
			lines = append(lines, fmt.Sprintf("db%d:keys=%d,expires=%d,avg_ttl=%d", db, n, expires, ttl/int64(max(expires, 1))))
		}
	}
	return lines
}

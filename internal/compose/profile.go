package compose

import "github.com/compose-spec/compose-go/v2/types"

// What the TCP/IP stack of a decky answers is the kernel's doing: these settings of its network namespace make it look like
// another system to whoever measures it (nmap -O, p0f). All of them exist per namespace and are accepted by the engine.
// Window sizes and the order of TCP options are no settings, and stay those of Linux.
var profileKeys = []string{
	"ip_default_ttl", "tcp_syn_retries", "tcp_timestamps", "tcp_window_scaling", "tcp_sack", "tcp_ecn",
	"ip_no_pmtu_disc", "tcp_fin_timeout", "icmp_ratelimit", "icmp_ratemask",
}

// profiles are by decky.NmapOSes, in the order of profileKeys.
var profiles = map[string][]string{
	"linux":          {"64", "6", "1", "1", "1", "2", "0", "60", "1000", "6168"},
	"windows":        {"128", "2", "1", "1", "1", "0", "0", "30", "0", "0"},
	"windows_server": {"128", "2", "1", "1", "1", "1", "0", "30", "0", "0"},
	"bsd":            {"64", "6", "1", "1", "1", "2", "0", "60", "250", "6168"},
	"embedded":       {"255", "3", "0", "0", "0", "0", "1", "15", "0", "0"},
	"cisco":          {"255", "2", "0", "0", "0", "0", "1", "15", "0", "0"},
}

// Profile returns the sysctls that make a namespace look like an operating system; an unknown one looks like linux.
func Profile(nmapOS string) types.Mapping {
	values, ok := profiles[nmapOS]
	if !ok {
		values = profiles["linux"]
	}
	m := types.Mapping{}
	for i, key := range profileKeys {
		m["net.ipv4."+key] = values[i]
	}
	return m
}

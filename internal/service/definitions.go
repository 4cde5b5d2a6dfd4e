package service

// definitions is the registry. Defaults and choices agree with what decoys read (package decoys/config); a test compares them.
var definitions = map[string]Definition{
	"ftp":      ftp(),
	"http":     http(),
	"https":    https(),
	"mysql":    mysql(),
	"postgres": postgres(),
	"telnet":   telnet(),
	"redis": {
		Name:  "redis",
		Title: "Redis",
		Ports: []Port{{"tcp", 6379}},
		Fields: []Field{
			{
				Key: "version", Label: "Version", Type: String, Placeholder: "chosen per decky",
				Help:    "The version INFO shows. Error texts follow it; from 7.0 on the directory cannot be changed.",
				Pattern: versionPattern, PatternHelp: "a version such as 6.2.14",
			},
			{
				Key: "os_string", Label: "Operating system", Type: String, Placeholder: "chosen per decky",
				Help:    "The `os` line of INFO.",
				Pattern: headerPattern, PatternHelp: "printable ASCII of at most 200 characters",
			},
		},
	},
	"ssh": {
		Name:  "ssh",
		Title: "Secure Shell",
		Ports: []Port{{"tcp", 22}},
		Fields: []Field{
			{
				Key: "password", Label: "Password of root", Type: Password, Default: "admin", Secret: true,
				Help: "The password that lets an intruder in as root.",
			},
			{
				Key: "user", Label: "Second account", Type: String, Default: "ubuntu",
				Help:    "An ordinary account next to root.",
				Pattern: userPattern, PatternHelp: "a lower-case login name of at most 32 characters",
			},
			{
				Key: "user_password", Label: "Password of the second account", Type: Password, Default: "admin", Secret: true,
				Help: "The password of the second account.",
			},
			{
				Key: "hostname", Label: "Host name", Type: String, Placeholder: "the decky's own",
				Help:    "The host name the shell shows, when it should differ from the decky's.",
				Pattern: hostPattern, PatternHelp: "a host name (RFC 1123)",
			},
		},
	},
}

package service

// definitions is the registry. Defaults and choices agree with what decoys read (package decoys/config); a test compares them.
var definitions = map[string]Definition{
	"ftp":    ftp(),
	"telnet": telnet(),
	"http": {
		Name:  "http",
		Title: "Web server",
		Ports: []Port{{"tcp", 80}},
		Fields: []Field{
			{
				Key: "server_header", Label: "Server header", Type: String, Placeholder: "chosen per decky",
				Help:    "The value of the Server header. Error pages, header order and limits follow the server it names.",
				Pattern: headerPattern, PatternHelp: "printable ASCII of at most 200 characters",
			},
			{
				Key: "response_code", Label: "Status code", Type: Int, Default: int64(200), Min: 100, Max: 599,
				Help: "The status of the front page, the custom body or the application's pages. Other than 200, every path of a server without application answers it.",
			},
			{
				Key: "fake_app", Label: "Application", Type: Enum, Default: "none", Enum: []string{"none", "wordpress", "phpmyadmin", "tomcat", "jenkins"},
				Help: "The application whose pages and login are shown.",
			},
			{
				Key: "extra_headers", Label: "Further headers", Type: Textarea, Placeholder: `{"X-Frame-Options": "DENY"}`,
				Help: "A JSON object, or one `Name: value` per line. Server and Content-Type replace the decoy's own; framing headers are ignored.",
			},
			{
				Key: "custom_body", Label: "Custom body", Type: Textarea,
				Help: "Answered on every path instead of an application.",
			},
			{
				Key: "http_versions", Label: "Protocol versions", Type: MultiEnum, Default: []string{"http/1.1"}, Enum: []string{"http/1.1", "http/2"},
				Help: "http/2 is served in the clear: with prior knowledge and, next to http/1.1, through Upgrade.",
			},
		},
	},
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

package service

func telnet() Definition {
	return Definition{
		Name:  "telnet",
		Title: "Telnet",
		Ports: []Port{{"tcp", 23}},
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
				Help:    "The host name of the login prompt and the shell, when it should differ from the decky's.",
				Pattern: hostPattern, PatternHelp: "a host name (RFC 1123)",
			},
		},
	}
}

package config

// DecodeTelnet returns the service configuration of a telnet decoy, which has the fields of ssh.
func (c Config) DecodeTelnet() (SSH, error) { return c.DecodeSSH() }

package ingest

// Event types (MSGID) that extraction or the gate knows by name; decoys emit more of them.
const (
	TypeStartup         = "startup"
	TypeConnect         = "connect"
	TypeConnection      = "connection"
	TypeDisconnect      = "disconnect"
	TypeClientBanner    = "client_banner"
	TypeAuth            = "auth"
	TypeAuthAttempt     = "auth_attempt"
	TypeCommand         = "command"
	TypeRequest         = "request"
	TypeQuery           = "query"
	TypeVersion         = "version"
	TypeSessionOpened   = "session_opened"
	TypeSessionRecorded = "session_recorded"
	TypeSessionClosed   = "session_closed"
	TypeFileCaptured    = "file_captured"
	TypeDownloadAttempt = "download_attempt"
	TypeForwardRequest  = "forward_request"
	TypeMessageStored   = "message_stored"
	TypeMessageAccepted = "message_accepted"
	TypeHTTPFingerprint = "http_request_fingerprint"
	TypeHTTP2Settings   = "http2_settings"
	TypeHTTP3Settings   = "http3_settings"
	TypeTLSClientHello  = "tls_client_hello"
	TypeQUICClientHello = "quic_client_hello"
	typeRcptTo          = "rcpt_to"
	typeRcptDenied      = "rcpt_denied"
	serviceHTTP         = "http"
	serviceHTTPS        = "https"
	serviceSniffer      = "sniffer"
	serviceProber       = "prober"
	serviceSMTP         = "smtp"
	serviceSMTPRelay    = "smtp_relay"
)

// TypeLogGap is of no decoy: ingest writes it where lines of one are missing.
const TypeLogGap = "log_gap"

var commandTypes = []string{
	"command", "exec", "query", "input", "shell_input", "execute", "run", "sql_query", "redis_command",
}

var classes = classTable()

func classTable() map[string]Class {
	m := map[string]Class{}
	for _, t := range commandTypes {
		m[t] = ClassInteraction
	}
	for _, t := range []string{
		"ldap_search", "mail_from", "rcpt_to", "rcpt_denied", "message_accepted", "file_captured", "upload",
		"download_attempt", "retr", "publish", "subscribe", "session_recorded",
	} {
		m[t] = ClassInteraction
	}
	for _, t := range []string{
		"startup", "shutdown", "config_error", "parse_error", "unknown_packet", "unknown_opcode", "unknown_command",
		"protocol_error", TypeLogGap,
	} {
		m[t] = ClassNoise
	}
	return m
}

// Classify returns the class of an event type.
func Classify(eventType string) Class {
	if c, ok := classes[eventType]; ok {
		return c
	}
	return ClassScan
}

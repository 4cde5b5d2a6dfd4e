package topology

import (
	"slices"

	"github.com/decnet/decnet/internal/fault"
)

// Severity says whether an issue blocks a deploy.
type Severity string

// The severities: only errors block.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// The codes of issues. The order is that in which Validate reports them; GatewayNotInDMZ and PortCollision are checked
// where they matter only, by GatewayIssue and PortCollisions.
const (
	DMZMissing           = "DMZ_MISSING"
	DMZMultiple          = "DMZ_MULTIPLE"
	DMZOrphan            = "DMZ_ORPHAN"
	DeckyOrphan          = "DECKY_ORPHAN"
	LANNameDup           = "LAN_NAME_DUP"
	DeckyNameDup         = "DECKY_NAME_DUP"
	IPUnknownLAN         = "IP_UNKNOWN_LAN"
	IPOutOfSubnet        = "IP_OUT_OF_SUBNET"
	IPMalformed          = "IP_MALFORMED"
	IPCollision          = "IP_COLLISION"
	SubnetMalformed      = "SUBNET_MALFORMED"
	SubnetOverlap        = "SUBNET_OVERLAP"
	UnknownService       = "UNKNOWN_SERVICE"
	ServiceCfgUndeclared = "SERVICE_CFG_UNDECLARED"
	PortConflict         = "PORT_CONFLICT"
	AddressesExhausted   = "ADDRESSES_EXHAUSTED"
	GatewayNotInDMZ      = "GATEWAY_NOT_IN_DMZ"
	PortCollision        = "PORT_COLLISION"
)

// Issue is one thing that is wrong with a graph. Target names what it is about: strings, lists of strings and port
// numbers under the keys lan, lans, decky, deckies, ip, service, services, port.
type Issue struct {
	Severity Severity       `json:"severity"`
	Code     string         `json:"code"`
	Message  string         `json:"message"`
	Target   map[string]any `json:"target"`
}

// Blocking returns the issues that block a deploy, in their order.
func Blocking(issues []Issue) []Issue {
	return slices.DeleteFunc(slices.Clone(issues), func(i Issue) bool { return i.Severity != Error })
}

// Fault returns the Unprocessable fault (topology_invalid) that names issues as refused fields, or nil when there is
// none. Field locations are "topology.<code>".
func Fault(issues []Issue) error {
	if len(issues) == 0 {
		return nil
	}
	f := fault.New(fault.Unprocessable, "topology_invalid", "the topology would not be valid: %s", issues[0].Message)
	for _, i := range issues {
		f = f.With(fault.Field{Location: "topology." + i.Code, Message: i.Message})
	}
	return f
}

// target is what an issue is about.
type target = map[string]any

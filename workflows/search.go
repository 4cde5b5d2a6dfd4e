package workflows

import (
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
)

// Search attributes: bounded values to find executions by, all keywords.
var (
	AttrScope     = temporal.NewSearchAttributeKeyKeyword("DecnetScope")
	AttrDecky     = temporal.NewSearchAttributeKeyKeyword("DecnetDecky")
	AttrService   = temporal.NewSearchAttributeKeyKeyword("DecnetService")
	AttrOperation = temporal.NewSearchAttributeKeyKeyword("DecnetOperation")
	AttrActor     = temporal.NewSearchAttributeKeyKeyword("DecnetActor")
)

// SearchAttributes returns the attributes a namespace must know before workflows run in it.
func SearchAttributes() map[string]enums.IndexedValueType {
	attrs := map[string]enums.IndexedValueType{}
	for _, name := range []string{
		"DecnetScope", "DecnetDecky", "DecnetService", "DecnetOperation",
		"DecnetActor", "DecnetRule", "DecnetRelayState", "DecnetAttacker",
	} {
		attrs[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
	}
	return attrs
}

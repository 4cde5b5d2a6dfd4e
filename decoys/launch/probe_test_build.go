//go:build probe

package launch

// The service "probe" exists in test builds only: one more service for a decky that already has every real one.
func init() { services["probe"] = buildRedis }

//go:build !istio_1_30

package mesh

// istioVersion is the version of the proxies, which determines their configuration: that of the code in go.mod.
const istioVersion = "1.31.0"

package api

import (
	"context"
	"net/http"

	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/topology"
)

// TopologyServicePath is a service of a decky of a topology in a path.
type TopologyServicePath struct {
	TopologyDeckyPath
	ServicePath
}

func (p TopologyDeckyPath) place() place {
	return place{scope: topology.ScopeName(p.id()), name: p.Decky}
}

type getTopologyDeckyInput struct {
	TopologyDeckyPath
	AtQuery
}

type topologyRevisionsInput struct {
	TopologyDeckyPath
	PageInput
}

type topologyRollbackInput struct {
	MutationInput
	TopologyDeckyPath
	Body rollbackBody
}

type topologyAddServiceInput struct {
	MutationInput
	TopologyDeckyPath
	Body addServiceBody
}

type topologyRemoveServiceInput struct {
	MutationInput
	TopologyServicePath
}

type topologyConfigInput struct {
	MutationInput
	TopologyServicePath
	DryRunQuery
	Body configBody
}

type topologyExpiryInput struct {
	MutationInput
	TopologyServicePath
	Body expiryBody
}

// registerTopologyDeckies offers for deckies of topologies what there is for those of the fleet. In a plan a change of
// services is only kept.
func (s *server) registerTopologyDeckies() {
	const of = "/topologies/{topology_id}/deckies/{decky}"
	const service = of + "/services/{service}"
	register(s, viewer, get("get-topology-decky", of, "One decky of a topology", tagTopologies),
		func(ctx context.Context, in *getTopologyDeckyInput) (*output[DeckyBody], error) {
			return s.deckyAt(ctx, in.place(), in.At)
		})
	register(s, viewer, get("list-topology-decky-revisions", of+"/revisions", "The revisions of a decky, newest first", tagTopologies),
		func(ctx context.Context, in *topologyRevisionsInput) (*output[Page[RevisionBody]], error) {
			return s.revisionsAt(ctx, in.place(), in.PageInput)
		})
	register(s, operator, s.mutation(http.StatusOK, http.MethodPost, "rollback-topology-decky", of+"/rollback",
		"Bring back the services of an earlier revision", DeckyServicesBody{}),
		func(ctx context.Context, in *topologyRollbackInput) (*mutationOutput, error) {
			return s.rollbackAt(ctx, in.MutationInput, in.place(), in.Body)
		})
	register(s, operator, s.mutation(http.StatusCreated, http.MethodPost, "add-topology-service", of+"/services",
		"Add a service to a decky", DeckyServicesBody{}),
		func(ctx context.Context, in *topologyAddServiceInput) (*mutationOutput, error) {
			return s.addServiceAt(ctx, in.MutationInput, in.place(), in.Body)
		})
	register(s, operator, s.mutation(http.StatusOK, http.MethodDelete, "remove-topology-service", service,
		"Remove a service from a decky", DeckyServicesBody{}),
		func(ctx context.Context, in *topologyRemoveServiceInput) (*mutationOutput, error) {
			return s.removeServiceAt(ctx, in.MutationInput, in.place(), in.Service)
		})
	register(s, operator, s.mutation(http.StatusOK, http.MethodPut, "save-topology-service-config", service+"/config",
		"Save a configuration for the next apply", ServiceConfigBody{}), s.configureTopology(operation.SaveConfig))
	register(s, operator, s.mutation(http.StatusCreated, http.MethodPost, "apply-topology-service-config", service+"/apply",
		"Make a service anew with a configuration, the saved one when none is given", ServiceConfigBody{}), s.configureTopology(operation.ApplyConfig))
	register(s, operator, s.mutation(http.StatusOK, http.MethodPut, "set-topology-service-expiry", service+"/expiry",
		"Set when a service is removed", ServiceExpiryBody{}),
		func(ctx context.Context, in *topologyExpiryInput) (*mutationOutput, error) {
			return s.setExpiryAt(ctx, in.MutationInput, in.place(), in.Service, in.Body)
		})
}

func (s *server) configureTopology(kind operation.Kind) func(context.Context, *topologyConfigInput) (*mutationOutput, error) {
	return func(ctx context.Context, in *topologyConfigInput) (*mutationOutput, error) {
		return s.configureAt(ctx, in.MutationInput, in.place(), in.Service, kind, in.Body, in.DryRun)
	}
}

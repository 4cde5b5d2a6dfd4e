package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Retention is how long Temporal keeps closed workflows.
const Retention = 7 * 24 * time.Hour

// SearchAttributes returns the names of decnet's search attributes, all keywords, sorted.
func SearchAttributes() []string {
	return []string{
		"DecnetActor", "DecnetAttacker", "DecnetDecky", "DecnetOperation",
		"DecnetRelayState", "DecnetRule", "DecnetScope", "DecnetService",
	}
}

// EnsureNamespace creates the namespace when it is missing, raises a retention shorter than Retention, and adds the
// search attributes it lacks. It changes nothing else, so it may be called at any time and against an external server.
func EnsureNamespace(ctx context.Context, c client.Client, namespace string) error {
	if err := ensureRetention(ctx, c.WorkflowService(), namespace); err != nil {
		return fmt.Errorf("temporal namespace %s: %w", namespace, err)
	}
	if err := ensureSearchAttributes(ctx, c.OperatorService(), namespace); err != nil {
		return fmt.Errorf("search attributes of temporal namespace %s: %w", namespace, err)
	}
	return nil
}

func ensureRetention(ctx context.Context, service workflowservice.WorkflowServiceClient, namespace string) error {
	retention := durationpb.New(Retention)
	found, err := service.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	var missing *serviceerror.NamespaceNotFound
	if errors.As(err, &missing) {
		_, err = service.RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
			Namespace: namespace, WorkflowExecutionRetentionPeriod: retention,
		})
		var exists *serviceerror.NamespaceAlreadyExists
		if errors.As(err, &exists) {
			return nil
		}
		return err
	}
	if err != nil || found.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration() >= Retention {
		return err
	}
	_, err = service.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: namespace, Config: &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: retention},
	})
	return err
}

func ensureSearchAttributes(ctx context.Context, service operatorservice.OperatorServiceClient, namespace string) error {
	have, err := service.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return err
	}
	missing := map[string]enums.IndexedValueType{}
	for _, name := range SearchAttributes() {
		if _, ok := have.GetCustomAttributes()[name]; !ok {
			missing[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = service.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if errors.As(err, &exists) {
		return nil
	}
	return err
}

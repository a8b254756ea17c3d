// Command decide screens files and prints what to do with each: act, hold, watch or pass.
//
//	go run . [-server HOST:PORT] [-account ID] [-timeout DURATION] FILE...
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "example.com/decide/featsvc/v1"
)

//go:generate protoc -I ../../proto --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative featsvc/v1/types.proto featsvc/v1/features.proto featsvc/v1/screening.proto

const maxTries = 4

type decision struct{ action, reason string }

// decide returns what to do, by the table of docs/deciding.md; the first row that fits decides.
func decide(answer *pb.ScreenResponse, err error) decision {
	if err != nil {
		return held(err)
	}
	var watched, unknown *pb.Match
	for _, match := range answer.GetMatches() {
		if match.GetSafe() || match.GetSuppressed() {
			continue
		}
		switch match.GetMode() {
		case pb.BankMode_BANK_MODE_ENFORCE:
			return decision{"act", "matches " + match.GetEntry()}
		case pb.BankMode_BANK_MODE_SHADOW:
			watched = match
		default: // also a mode of a newer server
			unknown = match
		}
	}
	switch {
	case answer.GetContentOutcome() != pb.Outcome_OUTCOME_OK:
		return decision{"hold", fmt.Sprintf("%v: %s", answer.GetContentOutcome(), answer.GetContentOutcomeReason())}
	case unknown != nil:
		return decision{"hold", fmt.Sprintf("unknown mode %v: %s", unknown.GetMode(), unknown.GetBank())}
	case answer.GetMatchesTruncated():
		return decision{"hold", "more matches than max_results"}
	case watched != nil:
		return decision{"watch", "matches " + watched.GetEntry() + ", which is in shadow"}
	}
	return decision{"pass", "searched, and nothing counts"}
}

// failure holds the details of a failed call; retryAfter is nil where a retry does not help.
type failure struct {
	reason, field string
	retryAfter    *time.Duration
}

func explain(err error) failure {
	var f failure
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			f.reason = detail.GetReason()
		case *errdetails.BadRequest:
			if violations := detail.GetFieldViolations(); len(violations) > 0 {
				f.field = violations[0].GetField()
			}
		case *errdetails.RetryInfo:
			delay := detail.GetRetryDelay().AsDuration()
			f.retryAfter = &delay
		}
	}
	return f
}

// held decides for a failed call: it is "could not look", never "no match".
func held(err error) decision {
	s, f := status.Convert(err), explain(err)
	details := s.Code().String()
	if f.reason != "" {
		details += ", " + f.reason
	}
	if f.field != "" {
		details += ", field " + f.field
	}
	return decision{"hold", fmt.Sprintf("%s (%s)", s.Message(), details)}
}

// screen calls within the deadline of ctx, again only after the delay that the server advises.
func screen(
	ctx context.Context, client pb.ScreeningServiceClient, request *pb.ScreenRequest,
) (*pb.ScreenResponse, error) {
	deadline, _ := ctx.Deadline()
	for tries := 1; ; tries++ {
		answer, err := client.Screen(ctx, request)
		delay := explain(err).retryAfter
		if delay == nil || tries == maxTries || time.Until(deadline) <= *delay {
			return answer, err
		}
		time.Sleep(*delay)
	}
}

func main() {
	log.SetFlags(0)
	server := flag.String("server", "localhost:50051", "`host:port` of featsvc")
	account := flag.String("account", "", "`id` of the account that uploads")
	timeout := flag.Duration("timeout", time.Second, "for each file, all tries together")
	flag.Parse()

	conn, err := grpc.NewClient(*server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := pb.NewScreeningServiceClient(conn)

	// With an account, the answer also has its features, for rules of your own: docs/features.md.
	var entities []*pb.EntityRef
	if *account != "" {
		entities = append(entities, &pb.EntityRef{Entity: "account", Id: *account})
	}
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, file := range flag.Args() {
		data, err := os.ReadFile(file)
		if err != nil {
			log.Fatal(err)
		}
		request := &pb.ScreenRequest{
			Content:  &pb.Content{Kind: &pb.Content_Data{Data: data}},
			Entities: entities,
		}
		ctx, cancel := context.WithTimeout(context.Background(), *timeout)
		decided := decide(screen(ctx, client, request))
		cancel()
		fmt.Printf("%s: %s - %s\n", file, decided.action, decided.reason)
	}
}

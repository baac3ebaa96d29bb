import { GossipService } from '@eventstore/db-client/generated/gossip_grpc_pb.js';
import gossip from '@eventstore/db-client/generated/gossip_pb.js';
import { ServerFeaturesService } from '@eventstore/db-client/generated/serverfeatures_grpc_pb.js';
import serverFeatures from '@eventstore/db-client/generated/serverfeatures_pb.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import { StreamsService } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type { GrpcCall } from './grpc-call.ts';

type Requests = (handle: (call: GrpcCall) => void) => (call: GrpcCall) => void;

const INSTANCE_ID = 'f1ee7000-0000-4000-8000-000000000001';

/** Tells the client that it may use the batch path. */
export function describeFeatures(requests: Requests): [string, (call: GrpcCall) => void][] {
  const supported = new serverFeatures.SupportedMethods();
  supported.setEventStoreServerVersion('23.10.6');
  for (const { path } of Object.values(StreamsService)) {
    const [, service = '', name = ''] = path.split('/');
    const method = new serverFeatures.SupportedMethod();
    method.setServiceName(service.toLowerCase());
    method.setMethodName(name.toLowerCase());
    supported.addMethods(method);
  }
  return [
    [
      ServerFeaturesService.getSupportedMethods.path,
      requests((call) => {
        call.send(supported.serializeBinary());
        call.end();
      }),
    ],
  ];
}

/** A cluster of this one node, its leader: what `esdb+discover` asks for. */
export function describeCluster(
  requests: Requests,
  port: () => number,
): [string, (call: GrpcCall) => void][] {
  return [
    [
      GossipService.read.path,
      requests((call) => {
        const id = new shared.UUID();
        id.setString(INSTANCE_ID);
        const endPoint = new gossip.EndPoint();
        endPoint.setAddress('127.0.0.1');
        endPoint.setPort(port());
        const member = new gossip.MemberInfo();
        member.setInstanceId(id);
        member.setState(gossip.MemberInfo.VNodeState.LEADER);
        member.setIsAlive(true);
        member.setHttpEndPoint(endPoint);
        const cluster = new gossip.ClusterInfo();
        cluster.addMembers(member);
        call.send(cluster.serializeBinary());
        call.end();
      }),
    ],
  ];
}

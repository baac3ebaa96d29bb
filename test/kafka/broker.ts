import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

/** A broker of the tests: one node, which is its own controller. */
export interface Broker {
  /** `host:port`, the same after a restart. */
  readonly address: string;
  /** As when the machine dies. */
  kill(): Promise<void>;
  /** With the data that it had when it was killed; nothing, if it was not. */
  restart(): Promise<void>;
  /** It answers nothing, and its connections stay. */
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

const run = promisify(execFile);
const START_TIMEOUT_MS = 60_000;
/**
 * The same for all, which do not know each other. Of those made at random, some begin as an option
 * does.
 */
const CLUSTER_ID = 'gqNnZBSRIkb9KWZyid45XQ';

/**
 * Where the jars are, by `KAFKA_TEST_CLASSPATH_FILE`: what `mvn dependency:build-classpath` writes
 * for the pom.xml beside this file. Undefined: there is none to be had.
 */
export function brokerClasspath(): string | undefined {
  const file = process.env['KAFKA_TEST_CLASSPATH_FILE'];
  if (file === undefined || file === '') return undefined;
  return readFileSync(file, 'utf8').trim();
}

export async function startBroker(classpath: string): Promise<Broker> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetledger-kafka-'));
  const settings = join(folder, 'server.properties');
  const [port, controllerPort] = await freePorts();
  await writeFile(settings, properties(folder, port, controllerPort));
  const format = ['format', '--cluster-id', CLUSTER_ID, '--config', settings];
  await run('java', [...javaOptions(classpath), 'kafka.tools.StorageTool', ...format]);
  let child: ChildProcess | undefined;

  const isRunning = (): boolean =>
    child !== undefined && child.exitCode === null && child.signalCode === null;
  // No broker of a run that ends early stays behind.
  process.on('exit', () => child?.kill('SIGKILL'));

  async function start(): Promise<void> {
    if (isRunning()) return;
    child = spawn('java', [...javaOptions(classpath), 'kafka.Kafka', settings], {
      stdio: 'ignore',
    });
    const until = performance.now() + START_TIMEOUT_MS;
    while (!(await answers(port))) {
      if (!isRunning()) throw new Error(`the broker ended with ${child.exitCode}`);
      if (performance.now() > until) throw new Error(`no broker after ${START_TIMEOUT_MS} ms`);
      await delay(100);
    }
  }
  async function kill(): Promise<void> {
    if (child === undefined || !isRunning()) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }

  await start();
  return {
    address: `127.0.0.1:${port}`,
    kill,
    restart: start,
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    async close() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function javaOptions(classpath: string): string[] {
  // Small, and quick to start: it stands beside the tests on the same cores.
  return ['-Xmx512m', '-Xms128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', classpath];
}

function properties(folder: string, port: number, controllerPort: number): string {
  return `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controllerPort}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENTS
listeners=CLIENTS://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}
advertised.listeners=CLIENTS://127.0.0.1:${port}
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${join(folder, 'data')}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
# After a kill it is let in again when its last session is over.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
`;
}

async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()];
  for (const server of servers) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
  const [one = 0, other = 0] = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  });
  for (const server of servers) {
    server.close();
    await once(server, 'close');
  }
  return [one, other];
}

/** The listener opens when the broker takes requests. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });
}

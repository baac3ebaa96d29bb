import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { performance } from 'node:perf_hooks';

/**
 * The limit: ten workers that ask for random DevEUIs until enough are registered, and remember
 * nothing.
 */
export async function bareProvisioning(url: string, size: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 10 });
  const startedAtMs = performance.now();
  let wanted = size;
  const work = async (): Promise<void> => {
    while (wanted > 0) {
      wanted -= 1;
      if ((await ask(url, agent)) !== 200) wanted += 1;
    }
  };
  await Promise.all(Array.from({ length: 10 }, work));
  agent.destroy();
  return performance.now() - startedAtMs;
}

function ask(url: string, agent: Agent): Promise<number> {
  const body = JSON.stringify({ deveui: randomBytes(8).toString('hex').toUpperCase() });
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/sensor-onboarding-sample`, {
      method: 'POST',
      agent,
      headers: { 'content-type': 'application/json', 'content-length': body.length },
    });
    sent.once('error', reject);
    sent.once('response', (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode ?? 0));
    });
    sent.end(body);
  });
}

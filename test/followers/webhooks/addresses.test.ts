import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  AddressRefusedError,
  isPrivateHost,
  isPublicAddress,
  publicLookup,
} from '../../../src/followers/webhooks/addresses.ts';

const byte = fc.integer({ min: 0, max: 255 });

/** Addresses of an IPv4 network, given by its first bytes and, in the byte behind them, a range. */
function network(first: readonly number[], from = 0, to = 255): fc.Arbitrary<string> {
  const rest = Array.from({ length: 3 - first.length }, () => byte);
  return fc
    .tuple(fc.integer({ min: from, max: to }), ...rest)
    .map((others) => [...first, ...others].join('.'));
}

const privateIpv4 = fc.oneof(
  network([0]),
  network([10]),
  network([100], 64, 127),
  network([127]),
  network([169, 254]),
  network([172], 16, 31),
  network([192, 0, 0]),
  network([192, 168]),
  network([198], 18, 19),
  network([], 224, 255),
);

const hextet = fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16));
const tail = fc.tuple(hextet, hextet, hextet).map((parts) => parts.join(':'));
const privateIpv6 = fc.oneof(
  fc.constantFrom('::', '::1'),
  fc
    .tuple(fc.constantFrom('fe80', 'febf', 'fec0', 'fc00', 'fdff', 'ff02'), tail)
    .map(([first, rest]) => `${first}:1::${rest}`),
);

function inIpv6(ipv4: string, prefix: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split('.').map(Number);
  return `${prefix}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

const publicIpv4 = fc.constantFrom(
  '1.1.1.1',
  '8.8.8.8',
  '93.184.216.34',
  '172.15.0.1',
  '172.32.0.1',
);

describe('addresses that a webhook may be sent to', () => {
  test('no private, loopback, link-local, shared or multicast address is public', () => {
    fc.assert(
      fc.property(fc.oneof(privateIpv4, privateIpv6), (address) => {
        expect(isPublicAddress(address), address).toBe(false);
      }),
    );
  });

  test('none is public inside an IPv6 address either, however it is written', () => {
    const prefixes = fc.constantFrom('::ffff:', '::ffff:0:', '64:ff9b::', '::');
    fc.assert(
      fc.property(privateIpv4, prefixes, (ipv4, prefix) => {
        expect(isPublicAddress(inIpv6(ipv4, prefix)), inIpv6(ipv4, prefix)).toBe(false);
        expect(isPublicAddress(`${prefix}${ipv4}`), `${prefix}${ipv4}`).toBe(false);
        expect(isPublicAddress(inIpv6(ipv4, '2002:')), inIpv6(ipv4, '2002:')).toBe(false);
      }),
    );
  });

  test('public addresses are public, and what is no address is not', () => {
    fc.assert(fc.property(publicIpv4, (address) => isPublicAddress(address)));
    expect(isPublicAddress('2606:4700:4700::1111')).toBe(true);
    expect(isPublicAddress('::ffff:8.8.8.8')).toBe(true);
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(isPublicAddress(`x${text}`)).toBe(false);
      }),
    );
  });

  test('the host of a URL is seen through, in every notation that a URL has for an address', () => {
    fc.assert(
      fc.property(privateIpv4, (ipv4) => {
        const [a = 0, b = 0, c = 0, d = 0] = ipv4.split('.').map(Number);
        const number = ((a * 256 + b) * 256 + c) * 256 + d;
        for (const host of [
          ipv4,
          String(number),
          `0x${number.toString(16)}`,
          `${a}.${b}.${c * 256 + d}`,
          `0${a.toString(8)}.${b}.${c}.0x${d.toString(16)}`,
          `[${inIpv6(ipv4, '::ffff:')}]`,
        ]) {
          expect(isPrivateHost(new URL(`http://${host}/`).hostname), host).toBe(true);
        }
      }),
    );
  });

  test('localhost is private under each of its names, and other names are not known yet', () => {
    for (const host of ['localhost', 'LOCALHOST', 'localhost.', 'a.localhost', 'b.localhost.']) {
      expect(isPrivateHost(new URL(`http://${host}/`).hostname), host).toBe(true);
    }
    expect(isPrivateHost('example.com')).toBe(false);
    expect(isPrivateHost('localhost.example.com')).toBe(false);
  });
});

describe('the look-up that a request is sent by', () => {
  function lookedUp(addresses: readonly string[], all: boolean): Promise<unknown> {
    const lookup = publicLookup((_hostname, _options, callback) =>
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      ),
    );
    return new Promise((resolve, reject) => {
      lookup('receiver.example', { all }, (error, address) =>
        error === null ? resolve(address) : reject(error),
      );
    });
  }

  test('gives the addresses that were checked', async () => {
    expect(await lookedUp(['8.8.8.8', '2606:4700::1'], true)).toEqual([
      { address: '8.8.8.8', family: 4 },
      { address: '2606:4700::1', family: 6 },
    ]);
    expect(await lookedUp(['8.8.8.8'], false)).toBe('8.8.8.8');
  });

  test('refuses a name with one private address, and does not tell which', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(privateIpv4, privateIpv6), fc.boolean(), async (address, all) => {
        const refusal = await lookedUp(['8.8.8.8', address], all).catch((error: unknown) => error);
        expect(refusal).toBeInstanceOf(AddressRefusedError);
        expect((refusal as Error).message).toBe('receiver.example is not a public address');
      }),
    );
  });

  test('a name without an address is an error', async () => {
    await expect(lookedUp([], true)).rejects.toThrow('has no address');
  });
});

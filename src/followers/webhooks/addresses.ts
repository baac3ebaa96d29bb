import { lookup, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * A webhook may not be sent there. The message names the host, and never the address it resolved
 * to.
 */
export class AddressRefusedError extends Error {
  override readonly name = 'AddressRefusedError';

  constructor(host: string) {
    super(`${host} is not a public address`);
  }
}

/**
 * All of IPv6 that has been given to the public. Outside are, for example, IPv4-compatible
 * addresses.
 */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * Whether an address belongs to the public internet: neither loopback, private, link-local, shared
 * (CGNAT), multicast nor reserved, also where it stands inside an IPv6 address (IPv4-mapped, NAT64,
 * 6to4, Teredo). A list of what is allowed: an address that no rule knows is refused.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  const isGlobal = parsed instanceof ipaddr.IPv4 || parsed.match(GLOBAL_UNICAST);
  return isGlobal && parsed.range() === 'unicast';
}

/** The address in a host of a URL (`[::1]` has brackets there); undefined for a name. */
function addressIn(hostname: string): string | undefined {
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  return isIP(host) === 0 ? undefined : host;
}

/**
 * Names that stand for the machine itself wherever they are resolved (RFC 6761), and need no
 * look-up.
 */
function isLocalName(hostname: string): boolean {
  const name = hostname.replace(/\.$/, '');
  return name === 'localhost' || name.endsWith('.localhost');
}

/**
 * Whether a URL can be refused by its host alone. A name that passes is checked again when it has
 * been resolved, by `publicLookup`.
 */
export function isPrivateHost(hostname: string): boolean {
  const address = addressIn(hostname);
  return address === undefined ? isLocalName(hostname) : !isPublicAddress(address);
}

type Resolve = (
  hostname: string,
  options: { readonly all: true },
  callback: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * A look-up for `http.request` that gives public addresses only. The socket connects to the very
 * address that was checked, so a name that resolves to another one a moment later (DNS rebinding)
 * gains nothing. A name with a single private address among public ones is refused.
 */
export function publicLookup(resolve: Resolve = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null || first === undefined) {
        callback(error ?? new Error(`${hostname} has no address`), []);
      } else if (!addresses.every(({ address }) => isPublicAddress(address))) {
        callback(new AddressRefusedError(hostname), []);
      } else if (options.all === true) {
        callback(null, addresses);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}

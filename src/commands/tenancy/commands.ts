import type { CommandParts } from '../core/command-parts.ts';
import type { CommandHandler } from '../core/handler.ts';
import { DeviceCommands } from './device-commands.ts';

export class TenancyCommands {
  readonly handler: CommandHandler;
  readonly devices: DeviceCommands;

  constructor({ handler, store, linkedDevices }: CommandParts) {
    this.handler = handler;
    this.devices = new DeviceCommands(store, handler, linkedDevices);
  }
}

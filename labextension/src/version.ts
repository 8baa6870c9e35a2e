/** The widget module as the kernel names it; nbtrain/ui/panel.py asks for the same. */
export const MODULE = { name: 'nbtrain', version: '0.1.0' };

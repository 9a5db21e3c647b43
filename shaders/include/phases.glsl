// Where the time of a workgroup goes (PHASES=1): ticks of the shader clock that its first invocation spends until data are in registers or shared
// memory (load), in arithmetic (compute) and until the results are written (store), one group of four words per workgroup in the binding
// behind the output: load, compute, store, their sum. With PHASES=0 every macro is empty and the module is what it would be without this file.
// Needs GL_ARB_shader_clock, and PHASES_BINDING: the number of the extra binding.
//
// PHASES_START() begins; PHASE_END(p) adds the time since the last mark to phase p; PHASES_STORE() ends the last one and writes. Behind a
// barrier a mark is the whole workgroup's. Ticks are counted modulo 2^32, so a phase may last that long in one workgroup.

#if PHASES
layout(set = 0, binding = PHASES_BINDING) writeonly buffer Phases { uvec4 phases[]; };

const uint PHASE_LOAD = 0u, PHASE_COMPUTE = 1u, PHASE_WRITE = 2u;
uint phase_mark;
uint phase_ticks[3];

void phases_start()
{
    phase_ticks[0] = phase_ticks[1] = phase_ticks[2] = 0u;
    phase_mark = clock2x32ARB().x;
}

void phase_end(uint phase)
{
    const uint now = clock2x32ARB().x;
    phase_ticks[phase] += now - phase_mark;
    phase_mark = now;
}

void phases_store()
{
    phase_end(PHASE_WRITE);
    if (gl_LocalInvocationIndex == 0u)
        phases[(gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * gl_NumWorkGroups.x + gl_WorkGroupID.x] =
            uvec4(phase_ticks[0], phase_ticks[1], phase_ticks[2], phase_ticks[0] + phase_ticks[1] + phase_ticks[2]);
}

#define PHASES_START() phases_start();
#define PHASE_END(phase) phase_end(PHASE_##phase);
#define PHASES_STORE() phases_store();
#else
#define PHASES_START()
#define PHASE_END(phase)
#define PHASES_STORE()
#endif

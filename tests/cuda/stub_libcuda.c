// A stub of the CUDA driver, to run numtorch's CUDA host path where there is no GPU (tests/cuda/test_stub.py builds it).
// Every entry point succeeds, copies copy, kernels do nothing. Device memory has addresses that the host cannot read: only the
// stub's own view of it can, so that host code which follows one crashes, and a copy whose ends are not where its name says
// fails. It shows wrong calls and argument types; it says nothing about results or GPU time. STUB_CUDA_MEMORY limits the memory in bytes;
// STUB_CUDA_TRACE=1 prints the calls marked T().
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
typedef int R; typedef void* P; typedef unsigned long long D;
static long launches, graphlaunches; static int capturing; static long h=0x10000; static int trace=-1;
static P newh(void){ h+=64; return (P)h; }
#define T(n) do{ if(trace<0) trace=getenv("STUB_CUDA_TRACE")!=0; if(trace) fprintf(stderr,"[cu] %s\n",n);}while(0)
// The current context, of each thread by itself as on a GPU: what works in a context fails where none was made current.
static __thread P cur;
#define IN_CONTEXT if(!cur) return 201;
// ---- device memory: one file mapped twice, at addresses that are given out and fault, and where the stub reads and writes
#define ROOM (16ull<<30)
static char *device_view, *own_view; static size_t used;
static struct{size_t n; D p;} blocks[1<<16]; static int blocks_made; static unsigned char is_free[1<<16];
static R start_memory(void){
  if(device_view) return 0;
  int f=memfd_create("stub",0); if(f<0||ftruncate(f,ROOM)) return 2;
  own_view=mmap(0,ROOM,PROT_READ|PROT_WRITE,MAP_SHARED|MAP_NORESERVE,f,0);
  device_view=mmap(0,ROOM,PROT_NONE,MAP_SHARED|MAP_NORESERVE,f,0);
  return own_view==MAP_FAILED||device_view==MAP_FAILED?2:0;}
static int on_device(D p,size_t n){return device_view&&(char*)p>=device_view&&(char*)p+n<=device_view+used;}
static P own(D p){return own_view+((char*)p-device_view);}
static P any(D p,size_t n){return on_device(p,n)?own(p):(P)p;}  // for calls that take addresses of either kind
static R give(D*p,size_t n){
  if(start_memory()) return 2;
  n=(n+511)/512*512+512;
  for(int i=0;i<blocks_made;i++) if(is_free[i]&&blocks[i].n==n){is_free[i]=0;*p=blocks[i].p;memset(own(*p),0,n);return 0;}
  if(blocks_made==1<<16||used+n>ROOM) return 2;
  *p=blocks[blocks_made].p=(D)(device_view+used); blocks[blocks_made++].n=n; used+=n; return 0;}
static R take_back(D p){
  for(int i=0;i<blocks_made;i++) if(blocks[i].p==p&&!is_free[i]){is_free[i]=1;return 0;}
  return p?1:0;}
static R to_device(D d,const void*s,size_t n){if(!on_device(d,n)||on_device((D)s,0)) return 1; memcpy(own(d),s,n); return 0;}
static R to_host(P d,D s,size_t n){if(!on_device(s,n)||on_device((D)d,0)) return 1; memcpy(d,own(s),n); return 0;}
static R within(D d,D s,size_t n){if(!on_device(d,n)||!on_device(s,n)) return 1; memmove(own(d),own(s),n); return 0;}
// ----
R cuInit(unsigned f){T(__func__);return 0;}
R cuDriverGetVersion(int*v){*v=13000;return 0;}
R cuDeviceGet(int*d,int o){*d=o;return 0;}
R cuDeviceGetCount(int*n){*n=1;return 0;}
R cuDeviceGetName(char*n,int l,int d){snprintf(n,l,"stub, cc 9.0");return 0;}
R cuDeviceTotalMem_v2(size_t*b,int d){*b=80ull<<30;return 0;}
R cuDeviceGetUuid_v2(char*u,int d){memset(u,7,16);return 0;}
R cuDeviceGetUuid(char*u,int d){memset(u,7,16);return 0;}
R cuDeviceGetAttribute(int*v,int a,int d){ switch(a){case 75:*v=9;break;case 76:*v=0;break;case 16:*v=132;break;case 10:*v=32;break;case 1:*v=1024;break;case 8:*v=49152;break;case 97:*v=232448;break;case 115:*v=1;break;case 41:*v=1;break;default:*v=1;} return 0;}
R cuDeviceComputeCapability(int*a,int*b,int d){*a=9;*b=0;return 0;}
R cuDevicePrimaryCtxRetain(P*c,int d){*c=(P)0x1111;return 0;}
R cuDevicePrimaryCtxRelease_v2(int d){return 0;}
R cuDevicePrimaryCtxGetState(int d,unsigned*f,int*a){*f=0;*a=1;return 0;}
R cuCtxGetCurrent(P*c){*c=cur;return 0;}
R cuCtxSetCurrent(P c){cur=c;return 0;}
R cuCtxPushCurrent_v2(P c){cur=c;return 0;}
R cuCtxPopCurrent_v2(P*c){*c=cur;return 0;}
R cuCtxGetDevice(int*d){*d=0;return 0;}
R cuCtxGetDevice_v2(int*d,P c){*d=0;return 0;}
R cuCtxGetApiVersion(P c,unsigned*v){*v=13000;return 0;}
R cuCtxGetId(P c,D*i){*i=1;return 0;}
R cuMemGetInfo_v2(size_t*f,size_t*t){IN_CONTEXT *f=*t=80ull<<30;return 0;}
R cuMemAlloc_v2(D*p,size_t n){const char*most=getenv("STUB_CUDA_MEMORY");if(most&&n>strtoull(most,0,10))return 2;return give(p,n);}
R cuMemFree_v2(D p){return take_back(p);}
R cuMemAllocAsync(D*p,size_t n,P s){return cuMemAlloc_v2(p,n);}
R cuMemAllocFromPoolAsync(D*p,size_t n,P pool,P s){IN_CONTEXT return cuMemAlloc_v2(p,n);}
R cuMemFreeAsync(D p,P s){return cuMemFree_v2(p);}
R cuMemAllocHost_v2(P*p,size_t n){IN_CONTEXT *p=malloc(n);return 0;}
R cuMemHostAlloc(P*p,size_t n,unsigned f){*p=malloc(n);return 0;}
R cuMemFreeHost(P p){free(p);return 0;}
R cuMemHostGetDevicePointer_v2(D*d,P p,unsigned f){*d=(D)p;return 0;}
R cuMemcpyHtoD_v2(D d,const void*s,size_t n){return to_device(d,s,n);}
R cuMemcpyDtoH_v2(P d,D s,size_t n){return to_host(d,s,n);}
R cuMemcpyDtoD_v2(D d,D s,size_t n){return within(d,s,n);}
R cuMemcpyHtoDAsync_v2(D d,const void*s,size_t n,P st){IN_CONTEXT return to_device(d,s,n);}
R cuMemcpyDtoHAsync_v2(P d,D s,size_t n,P st){IN_CONTEXT return to_host(d,s,n);}
R cuMemcpyDtoDAsync_v2(D d,D s,size_t n,P st){T(__func__);return capturing?0:within(d,s,n);}
R cuMemcpyAsync(D d,D s,size_t n,P st){IN_CONTEXT T(__func__);memmove(any(d,n),any(s,n),n);return 0;}
R cuMemcpy(D d,D s,size_t n){memmove(any(d,n),any(s,n),n);return 0;}
R cuMemsetD8_v2(D d,unsigned char v,size_t n){if(!on_device(d,n)) return 1; memset(own(d),v,n);return 0;}
R cuMemsetD8Async(D d,unsigned char v,size_t n,P s){return cuMemsetD8_v2(d,v,n);}
R cuMemsetD32_v2(D d,unsigned v,size_t n){if(!on_device(d,4*n)) return 1; for(size_t i=0;i<n;i++)((unsigned*)own(d))[i]=v;return 0;}
R cuMemsetD32Async(D d,unsigned v,size_t n,P s){return cuMemsetD32_v2(d,v,n);}
R cuPointerGetAttribute(P v,int a,D p){T(__func__); switch(a){case 1:*(P*)v=(P)0x1111;break;case 2:*(int*)v=2;break;case 3:*(D*)v=p;break;case 9:*(int*)v=0;break;default:*(int*)v=0;}return 0;}
R cuPointerGetAttributes(unsigned n,int*a,P*v,D p){for(unsigned i=0;i<n;i++)cuPointerGetAttribute(v[i],a[i],p);return 0;}
R cuMemGetAddressRange_v2(D*b,size_t*s,D p){*b=p;*s=1<<20;return 0;}
R cuStreamCreate(P*s,unsigned f){*s=newh();return 0;}
R cuStreamCreateWithPriority(P*s,unsigned f,int p){IN_CONTEXT T(__func__);*s=newh();return 0;}
R cuStreamGetFlags(P s,unsigned*f){*f=1;return 0;}
R cuStreamGetPriority(P s,int*p){*p=0;return 0;}
R cuStreamGetCtx(P s,P*c){*c=(P)0x1111;return 0;}
R cuStreamGetCtx_v2(P s,P*c,P*g){*c=(P)0x1111;if(g)*g=0;return 0;}
R cuStreamGetDevice(P s,int*d){*d=0;return 0;}
R cuStreamGetId(P s,D*i){*i=(D)s;return 0;}
static long waited; // the stream that was last told to wait
R cuStreamWaitEvent(P s,P e,unsigned f){IN_CONTEXT waited=(long)s;return 0;}
R cuStreamQuery(P s){return 0;}
R cuStreamBeginCapture_v2(P s,int m){T(__func__);capturing=1;return 0;}
R cuStreamEndCapture(P s,P*g){T(__func__);capturing=0;*g=newh();return 0;}
R cuStreamIsCapturing(P s,int*st){*st=capturing;return 0;}
R cuStreamGetCaptureInfo_v2(P s,int*st,D*id,P*g,P*deps,size_t*nd){*st=capturing;if(id)*id=1;if(g)*g=(P)0x2222;if(nd)*nd=0;if(deps)*deps=0;return 0;}
R cuStreamGetCaptureInfo_v3(P s,int*st,D*id,P*g,P*deps,P*e,size_t*nd){if(e)*e=0;return cuStreamGetCaptureInfo_v2(s,st,id,g,deps,nd);}
R cuCtxGetStreamPriorityRange(int*a,int*b){*a=0;*b=-5;return 0;}
R cuEventCreate(P*e,unsigned f){IN_CONTEXT *e=newh();return 0;}
R cuEventQuery(P e){return 0;}
R cuEventElapsedTime(float*ms,P a,P b){*ms=1.0f;return 0;}
R cuEventElapsedTime_v2(float*ms,P a,P b){*ms=1.0f;return 0;}
R cuModuleLoadData(P*m,const void*i){*m=newh();return 0;}
R cuModuleLoadDataEx(P*m,const void*i,unsigned n,P o,P v){*m=newh();return 0;}
R cuModuleGetFunction(P*f,P m,const char*n){*f=newh();return 0;}
R cuLibraryLoadData(P*l,const void*c,P a,P b,unsigned n,P d,P e,unsigned m){T(__func__);*l=newh();return 0;}
R cuLibraryGetKernel(P*k,P l,const char*n){T(n);*k=newh();return 0;}
R cuLibraryGetKernelCount(unsigned*c,P l){*c=1;return 0;}
R cuLibraryGetModule(P*m,P l){*m=newh();return 0;}
R cuKernelGetFunction(P*f,P k){*f=newh();return 0;}
R cuKernelGetLibrary(P*l,P k){*l=newh();return 0;}
R cuKernelGetAttribute(int*v,int a,P k,int d){*v=32;return 0;}
R cuKernelGetName(const char**n,P k){*n="k";return 0;}
R cuFuncGetAttribute(int*v,int a,P f){*v=32;return 0;}
R cuFuncGetModule(P*m,P f){*m=newh();return 0;}
R cuOccupancyMaxActiveBlocksPerMultiprocessor(int*n,P f,int b,size_t s){*n=2;return 0;}
R cuOccupancyMaxPotentialBlockSize(int*g,int*b,P f,P cb,size_t s,int l){*g=264;*b=256;return 0;}
R cuLaunchKernel(P f,unsigned a,unsigned b,unsigned c,unsigned d,unsigned e,unsigned g,unsigned s,P st,P*pr,P*ex){IN_CONTEXT T(__func__);launches++;return 0;}
R cuLaunchKernelEx(P c,P f,P*pr,P*ex){IN_CONTEXT T(__func__);launches++;return 0;}
R cuLaunchCooperativeKernel(P f){launches++;return 0;}
R cuGraphCreate(P*g,unsigned f){*g=newh();return 0;}
R cuGraphInstantiateWithFlags(P*e,P g,D f){T(__func__);*e=newh();return 0;}
R cuGraphInstantiate_v2(P*e,P g,P n,char*l,size_t s){*e=newh();return 0;}
R cuGraphInstantiateWithParams(P*e,P g,P p){T(__func__);*e=newh();return 0;}
R cuGraphLaunch(P e,P s){IN_CONTEXT T(__func__);graphlaunches++;return 0;}
R cuGraphUpload(P e,P s){T(__func__);return 0;}
R cuGraphAddKernelNode_v2(P*n,P g,P d,size_t nd,P pr){T(__func__);*n=newh();return 0;}
R cuGraphAddNode_v2(P*n,P g,P d,P dd,size_t nd,P pr){T(__func__);*n=newh();return 0;}
R cuGraphExecKernelNodeSetParams_v2(P e,P n,P p){T(__func__);return 0;}
R cuGraphGetNodes(P g,P*n,size_t*c){T(__func__);*c=0;return 0;}
R cuGraphNodeGetType(P n,int*t){*t=0;return 0;}
R cuUserObjectCreate(P*o,P p,P d,unsigned i,unsigned f){*o=newh();return 0;}
R cuDeviceGetDefaultMemPool(P*p,int d){*p=newh();return 0;}
R cuDeviceGetMemPool(P*p,int d){*p=newh();return 0;}
R cuMemPoolCreate(P*p,P pr){*p=newh();return 0;}
R cuMemPoolGetAttribute(P p,int a,P v){*(D*)v=0;return 0;}
R cuMemPoolSetAttribute(P p,int a,P v){T(__func__);return 0;}
R cuGetErrorString(int e,const char**s){*s=e==2?"out of memory":e==201?"no context is current":"stub error";return 0;}
R cuGetErrorName(int e,const char**s){*s=e==2?"CUDA_ERROR_OUT_OF_MEMORY":e==201?"CUDA_ERROR_INVALID_CONTEXT":"CUDA_STUB";return 0;}
long stub_waited(void){return waited;}
long stub_launches(void){return launches;} long stub_graph_launches(void){return graphlaunches;}
R generic(void){T("generic");return 0;}
R cuGetProcAddress_v2(const char*sym,P*pfn,int ver,D flags,int*st){
  static const char*suffix[]={"_v3","_v2","","_ptsz",0}; static P self; Dl_info me; char b[256]; P p=0;
  if(!self && dladdr((P)cuInit,&me)) self=dlopen(me.dli_fname,RTLD_NOW);
  for(int i=0;suffix[i]&&!p;i++){ snprintf(b,256,"%s%s",sym,suffix[i]); p=dlsym(self,b);}
  *pfn=p?p:(P)generic; if(st)*st=0; return 0;}
R cuGetProcAddress(const char*sym,P*pfn,int ver,D flags){return cuGetProcAddress_v2(sym,pfn,ver,flags,0);}
